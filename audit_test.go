package hearth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"hearth"
)

// The hash of an entry is over this text: stored entries are proved by it for ever.
func TestTheHashOfAnAuditEntryStays(t *testing.T) {
	t.Parallel()
	entry := hearth.AuditEntry{
		Seq: 12, PrevHash: "ab", At: time.UnixMilli(1700000000123), ActorID: "user:1", Action: "twin.update", Target: "device:é", Result: "ok",
		IP: "::1", RequestID: "r:1", ChangesText: `{"a":{"after":1}}`,
	}
	sum := sha256.Sum256([]byte(`2:122:ab13:17000000001236:user:111:twin.update9:device:é2:ok3:::10:3:r:117:{"a":{"after":1}}`))
	if got := entry.Sum(); got != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash is %s", got)
	}
}
