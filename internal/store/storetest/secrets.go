package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// Secrets checks that a store keeps files of keys, and that of several changes at once one wins.
func Secrets(t *testing.T, open func(t *testing.T) hearth.SecretStore) {
	t.Run("of many that store at once one wins", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		for version := range int64(3) {
			var won sync.Map
			var storing sync.WaitGroup
			for i := range 8 {
				storing.Go(func() {
					content := fmt.Appendf(nil, "%d of %d", i, version)
					err := s.SetSecret(t.Context(), hearth.SecretFile{Name: "keys", Version: version, Content: content})
					if err == nil {
						won.Store(string(content), true)
					} else if hearth.ErrorCode(err) != hearth.CodeConflict {
						t.Errorf("SetSecret: %v", err)
					}
				})
			}
			storing.Wait()
			var winner []string
			won.Range(func(content, _ any) bool { winner = append(winner, content.(string)); return true })
			if len(winner) != 1 {
				t.Fatalf("version %d was stored by %v", version+1, winner)
			}
			files, err := s.Secrets(t.Context())
			want := []hearth.SecretFile{{Name: "keys", Version: version + 1, Content: []byte(winner[0])}}
			if diff := cmp.Diff(want, files); err != nil || diff != "" {
				t.Fatalf("Secrets: %v\n%s", err, diff)
			}
		}
	})
	t.Run("a change of what is not there is a conflict", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		wantCode(t, s.SetSecret(t.Context(), hearth.SecretFile{Name: "keys", Version: 1}), hearth.CodeConflict)
		if files, err := s.Secrets(t.Context()); err != nil || len(files) != 0 {
			t.Errorf("Secrets: %v, %v", files, err)
		}
	})
}
