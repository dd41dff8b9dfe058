package sqlite

import (
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/storetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	storetest.Audit(t, func(t *testing.T) hearth.AuditStore { return openTest(t) })
}

func TestTheDatabaseRefusesToEditTheAudit(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for range 3 {
		if err := s.AppendAudit(t.Context(), hearth.AuditEntry{At: time.Now(), Action: "a.b"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		`UPDATE audit SET action='c.d' WHERE seq=2`,
		`DELETE FROM audit WHERE seq=3`,
		`DELETE FROM audit`,
		`INSERT OR REPLACE INTO audit SELECT seq, prev_hash, hash, at, actor_id, 'c.d', target, result, ip, user_agent, request_id, changes FROM audit WHERE seq=2`,
		`INSERT INTO audit SELECT 9, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes FROM audit WHERE seq=3`,
		`INSERT INTO audit SELECT 4, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes FROM audit WHERE seq=3`,
		`UPDATE audit_head SET seq=1`,
		`DELETE FROM audit_head`,
		`INSERT INTO audit_head(one, seq, hash) VALUES(2, 3, '')`,
	} {
		err := s.write(t.Context(), "Test", func(t *tx) error {
			_, err := t.exec(statement)
			return err
		})
		if err == nil {
			t.Errorf("done: %s", statement)
		}
	}
	entries, err := s.AuditChain(t.Context(), 0, 10)
	if err != nil || len(entries) != 3 || entries[1].Action != "a.b" {
		t.Errorf("the audit holds %+v, %v", entries, err)
	}
}

func BenchmarkAppendAudit(b *testing.B) {
	s := openTest(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		entry := hearth.AuditEntry{At: time.Now(), Action: "a.b", RequestID: fmt.Sprint(i), Changes: map[string]hearth.Change{"name": {Before: "a", After: "b"}}}
		if err := s.AppendAudit(b.Context(), entry); err != nil {
			b.Fatal(err)
		}
	}
}
