package mongodb

import (
	"context"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"hearth"
	"hearth/internal/store/mongodb/steps"
)

// TestAWriteCostsFewCommands counts round trips: each is some milliseconds on a replica set.
func TestAWriteCostsFewCommands(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var commands []string
	s := openAt(t, Options{URI: newDatabase(t), Clock: atNoon, commands: &event.CommandMonitor{
		Started: func(_ context.Context, e *event.CommandStartedEvent) {
			mu.Lock()
			defer mu.Unlock()
			commands = append(commands, e.CommandName)
		},
	}})
	furnish(t, s)
	update := func(effects hearth.SideEffects) func() error {
		return func() error {
			_, _, err := s.UpdateUser(t.Context(), "ann", func(u hearth.User) (hearth.UserChange, error) {
				return hearth.UserChange{User: u, SideEffects: effects}, nil
			})
			return err
		}
	}
	for _, tt := range []struct {
		name  string
		write func() error
		want  []string
	}{
		{"a change of one document", update(hearth.SideEffects{}), []string{"find", "update"}},
		{
			"one that takes an entry along", update(hearth.SideEffects{Audit: entries("x")}),
			// read, lock, decide, apply, append, head, finish
			[]string{"find", "update", "insert", "update", "insert", "update", "delete"},
		},
		{
			"entries alone", func() error { return s.AppendAudit(t.Context(), entries("x", "y")...) },
			[]string{"insert", "insert", "update", "delete"},
		},
		{
			"one that creates, under a key", func() error {
				return s.CreateExport(t.Context(), hearth.Export{ID: "e", UserID: "ann", Status: hearth.ExportQueued}, hearth.SideEffects{Idempotency: once("k")})
			},
			// the free slot, the key, draft, decide, apply, finish
			[]string{"find", "find", "insert", "insert", "update", "update"},
		},
	} {
		mu.Lock()
		commands = nil
		mu.Unlock()
		if err := tt.write(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if !slices.Equal(commands, tt.want) {
			t.Errorf("%s takes %v, want %v", tt.name, commands, tt.want)
		}
		mu.Unlock()
	}
}

// A find returns 101 documents at first by itself: the newest logs are soon more.
func TestHundredsOfDocumentsCostOneCommand(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var commands []string
	s := openAt(t, Options{URI: newDatabase(t), Clock: atNoon, commands: &event.CommandMonitor{
		Started: func(_ context.Context, e *event.CommandStartedEvent) {
			mu.Lock()
			defer mu.Unlock()
			commands = append(commands, e.CommandName)
		},
	}})
	many := make([]bson.D, 500)
	for i := range many {
		many[i] = steps.ByID(i)
	}
	if _, err := s.Collection("many").InsertMany(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	commands = nil
	mu.Unlock()
	found, err := steps.FindAll[bson.M](t.Context(), s.Collection("many"), bson.D{})
	mu.Lock()
	defer mu.Unlock()
	if err != nil || len(found) != len(many) || !slices.Equal(commands, []string{"find"}) {
		t.Errorf("%d documents cost %v (%v)", len(found), commands, err)
	}
}
