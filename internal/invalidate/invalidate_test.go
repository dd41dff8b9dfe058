package invalidate_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"hearth"
	"hearth/internal/bus/membus"
	"hearth/internal/invalidate"
)

// caches notes each call, for every part.
type caches chan string

func (c caches) ChangedRemotely(id string, scope hearth.Scope, last, _ time.Time) {
	c <- fmt.Sprint("changed ", id, " ", scope, " ", last.UTC().Format(time.TimeOnly))
}
func (c caches) RemovedRemotely(id string, scope hearth.Scope) {
	c <- fmt.Sprint("removed ", id, " ", scope)
}
func (c caches) DesiredChanged(id string, version int64) {
	c <- fmt.Sprint("desired ", id, " ", version)
}
func (c caches) SessionsEnded(user string, sessions []string) {
	c <- fmt.Sprint("ended ", user, " ", sessions, sessions == nil)
}
func (c caches) MembershipEnded(user, org string) { c <- fmt.Sprint("left ", user, " ", org) }

type forget struct {
	caches
	what string
}

type forgetDevice struct{ caches }

func (f forgetDevice) Forget(device int64) { f.caches <- fmt.Sprint("forget device ", device) }

func (f forget) Forget(user string) { f.caches <- "forget " + f.what + " of " + user }

func TestWhatAnInstanceChangedTheOthersReadAnew(t *testing.T) {
	t.Parallel()
	network := &membus.Network{}
	start := func() (*invalidate.Others, caches) {
		end, heard := network.Join(), make(caches, 100)
		t.Cleanup(end.Close)
		others := invalidate.New(end, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		over := make(chan struct{})
		go func() {
			defer close(over)
			others.Run(ctx, invalidate.Caches{Devices: heard, Logs: forgetDevice{heard}, Users: forget{heard, "user"}, Roles: forget{heard, "roles"}, Streams: heard})
		}()
		t.Cleanup(func() { cancel(); <-over })
		return others, heard
	}
	a, ownCaches := start()
	_, heard := start()
	stranger := network.Join()
	t.Cleanup(stranger.Close)
	// Both listen once a message reaches two.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, err := stranger.PublishCounted(t.Context(), "changes", "nonsense"); err == nil && n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("they do not listen")
		}
	}
	last := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a.Publish(
		hearth.Event{Type: hearth.EventDeviceUpdate, DeviceID: "d1", Scope: "user:u", Data: hearth.Device{LastActiveAt: last}},
		hearth.Event{Type: hearth.EventDeviceHeartbeat, DeviceID: "d2"}, hearth.Event{Type: hearth.EventDeviceDeleted, DeviceID: "d3", Scope: "org:o", Data: hearth.Device{Key: 7}})
	a.DesiredChanged("d4", 7)
	a.SessionsEnded("u", []string{"s"})
	a.SessionsEnded("u", nil)
	a.RolesChanged("v")
	a.MembershipEnded("v", "o")
	for _, want := range []string{
		"changed d1 user:u 12:00:00", "forget device 7", "removed d3 org:o", "desired d4 7", "forget user of u", "ended u [s] false", "forget user of u", "ended u [] true",
		"forget roles of v", "forget roles of v", "left v o",
	} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("did not hear %q", want)
		}
	}
	if len(heard) > 0 || len(ownCaches) > 0 {
		t.Errorf("%d messages more, and %d to itself", len(heard), len(ownCaches))
	}
}
