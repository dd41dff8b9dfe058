package sqlite

import (
	"os"
	"strings"
	"testing"

	"hearth"
)

func TestTidyGivesSpaceBackToTheFileSystem(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	ctx := t.Context()
	var ids []string
	effects := hearth.SideEffects{}
	for i := range 100 {
		id := "0195b000-0000-7000-8000-" + strings.Repeat("0", 9) + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
		effects.Jobs = append(effects.Jobs, hearth.OutboxJob{ID: id, Kind: "k", Queue: "cleanup", Payload: make([]byte, 60<<10)})
		ids = append(ids, id)
	}
	if err := s.Record(ctx, effects); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteOutbox(ctx, ids); err != nil {
		t.Fatal(err)
	}
	freed, err := s.Tidy(ctx)
	if err != nil || freed < 1000 {
		t.Fatalf("freed %d pages, %v", freed, err)
	}
	if again, err := s.Tidy(ctx); err != nil || again != 0 {
		t.Errorf("a second time it freed %d pages, %v", again, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.options.Path); err != nil || info.Size() > 1<<20 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
}
