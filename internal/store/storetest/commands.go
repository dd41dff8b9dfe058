package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth"
)

// CommandStore is what the suite of commands is about.
type CommandStore interface {
	hearth.CommandStore
	hearth.DeviceStore
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
}

// Commands is the suite for commands. open returns an empty store; it is called once a test, in parallel.
func Commands(t *testing.T, open func(t *testing.T) CommandStore) {
	for name, test := range map[string]func(*testing.T, CommandStore){
		"returns what was stored":                          commandRoundTrip,
		"counts the commands that are given a number":      commandNumbers,
		"numbers the commands of a device in order":        commandOrder,
		"lists newest first, page by page, by state":       commandPages,
		"updates in one atomic step, with side effects":    commandUpdates,
		"bounds the open commands of a device":             commandBound,
		"gives each write of a step its own result":        commandWrites,
		"expires each command in one call":                 commandExpiry,
		"removes what is over":                             commandRemoval,
		"removes the commands of a deleted device":         commandsOfDeletedDevice,
		"places a batch step by step and counts its total": commandBatch,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// endedJobs writes a job with each command that has ended.
func endedJobs(c hearth.Command) ([]hearth.OutboxJob, error) {
	job := outboxJob(1)
	job.ID = c.ID
	return []hearth.OutboxJob{job}, nil
}

// checkEndedJobs compares what the outbox holds with the commands that have ended.
func checkEndedJobs(t *testing.T, s CommandStore, want ...string) {
	t.Helper()
	jobs, err := s.PendingOutbox(t.Context(), 100)
	got := []string{}
	for _, job := range jobs {
		got = append(got, job.ID)
	}
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("jobs were stored of %v, want %v: %v", got, want, err)
	}
}

func commandDevice(t *testing.T, s CommandStore, n int) string {
	t.Helper()
	d, err := s.CreateDevices(t.Context(), []hearth.Device{{
		ID: fmt.Sprintf("0195d000-0000-7000-8000-%012d", n), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "u",
		CreatedAt: epoch, UpdatedAt: epoch,
	}}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return d[0].ID
}

// ordered returns a command; n makes ids and times that ascend.
func ordered(device string, n int) hearth.Command {
	return hearth.Command{
		ID: fmt.Sprintf("0195c000-0000-7000-9000-%012d", n), DeviceID: device, Name: "reboot", State: hearth.CommandQueued, CreatedBy: "ann",
		CreatedAt: epoch.Add(time.Duration(n) * time.Second), ExpiresAt: epoch.Add(time.Duration(n)*time.Second + time.Hour),
	}
}

// storeCommand and updateCommand are WriteCommands of one write.
func storeCommand(t *testing.T, s CommandStore, c hearth.Command, effects hearth.SideEffects) (hearth.Command, error) {
	return doWrite(t, s, &hearth.CommandWrite{New: &c, Effects: effects})
}

func updateCommand(
	t *testing.T, s CommandStore, id string, change func(hearth.Command) (hearth.Command, error), effects hearth.SideEffects,
) (hearth.Command, error) {
	return doWrite(t, s, &hearth.CommandWrite{ID: id, Change: change, Effects: effects})
}

func doWrite(t *testing.T, s CommandStore, w *hearth.CommandWrite) (hearth.Command, error) {
	w.Ctx = t.Context()
	err := s.WriteCommands(t.Context(), w)
	return w.After, err
}

func createCommand(t *testing.T, s CommandStore, c hearth.Command) hearth.Command {
	t.Helper()
	made, err := storeCommand(t, s, c, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func commandRoundTrip(t *testing.T, s CommandStore) {
	device := commandDevice(t, s, 1)
	full := ordered(device, 1)
	full.Params, full.Result, full.Error = json.RawMessage(`{"a":[1.50,"ü"]}`), json.RawMessage(`"x"`), "jammed"
	full.State, full.Attempts, full.Number, full.Batch = hearth.CommandFailed, 3, 4, "b"
	full.SentAt, full.DeliveredAt, full.CompletedAt = epoch.Add(time.Second), epoch.Add(2*time.Second), epoch.Add(3*time.Second)
	for _, want := range []hearth.Command{ordered(device, 0), full} {
		want.Seq = want.CreatedAt.UnixMilli()
		if diff := cmp.Diff(want, createCommand(t, s, want)); diff != "" {
			t.Errorf("returned (-want +got):\n%s", diff)
		}
		got, err := s.Command(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if _, err := s.Command(t.Context(), "none"); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a command that is not there: %v", err)
	}
	orphan := hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}
	if _, err := storeCommand(t, s, ordered("no such device", 9), orphan); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a command to no device: %v", err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
}

// Numbers count the commands of a device that were given one, in the order of sending, and find those that have not ended.
func commandNumbers(t *testing.T, s CommandStore) {
	device, other := commandDevice(t, s, 1), commandDevice(t, s, 2)
	number := func(device, id string, want int64) {
		t.Helper()
		if c, err := s.NumberCommand(t.Context(), device, id); err != nil || c.Number != want || c.ID != id {
			t.Errorf("the command %s has the number %d, %v; want %d", c.ID, c.Number, err, want)
		}
	}
	var all []hearth.Command
	for i := range 4 {
		all = append(all, createCommand(t, s, ordered(device, i)))
	}
	theirs := createCommand(t, s, ordered(other, 9))
	number(device, all[0].ID, 1)
	number(device, all[2].ID, 2) // the one between was sent otherwise
	number(device, all[0].ID, 1)
	number(other, theirs.ID, 1)
	number(device, all[3].ID, 3)
	if _, err := s.NumberCommand(t.Context(), device, theirs.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("the command of another device: %v", err)
	}
	for n, want := range map[int64]string{1: all[0].ID, 2: all[2].ID, 3: all[3].ID} {
		if c, err := s.CommandByNumber(t.Context(), device, n); err != nil || c.ID != want {
			t.Errorf("the number %d finds %s, %v", n, c.ID, err)
		}
	}
	_, err := updateCommand(t, s, all[2].ID, func(c hearth.Command) (hearth.Command, error) {
		c.State, c.CompletedAt = hearth.CommandSucceeded, epoch
		return c, nil
	}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 2, 4} {
		if c, err := s.CommandByNumber(t.Context(), device, n); hearth.ErrorCode(err) != hearth.CodeNotFound {
			t.Errorf("the number %d finds %s, %v", n, c.ID, err)
		}
	}
}

// Commands of one millisecond, and of a clock that went back, come in the order of their creation.
func commandOrder(t *testing.T, s CommandStore) {
	device, other := commandDevice(t, s, 1), commandDevice(t, s, 2)
	var want, got []string
	for n, at := range []time.Duration{time.Hour, time.Hour, 0, time.Minute, 2 * time.Hour} {
		c := ordered(device, 9-n)
		c.CreatedAt, c.ExpiresAt = epoch.Add(at), epoch.Add(9*time.Hour)
		want = append(want, createCommand(t, s, c).ID)
	}
	createCommand(t, s, ordered(other, 10))
	expectPending(t, s, map[string]int{device: len(want), other: 1}, device, other, "none")
	for range want {
		next, err := s.NextCommand(t.Context(), device, 0, epoch)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.NextCommand(t.Context(), device, 0, epoch)
		if err != nil || again.ID != next.ID {
			t.Errorf("the next command is %s, then %s, %v", next.ID, again.ID, err)
		}
		got = append(got, next.ID)
		changeCommand(t, s, next.ID, func(c hearth.Command) hearth.Command { return c.Sent(epoch).Delivered(epoch) })
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the order (-want +got):\n%s", diff)
	}
	if _, err := s.NextCommand(t.Context(), device, 0, epoch); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("after the last: %v", err)
	}
	if _, err := s.NextCommand(t.Context(), other, 0, epoch.Add(2*time.Hour)); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("an expired one: %v", err)
	}
	expectPending(t, s, map[string]int{other: 1}, device, other, "none")
}

func expectPending(t *testing.T, s CommandStore, want map[string]int, devices ...string) {
	t.Helper()
	got, err := s.CountPendingCommands(t.Context(), devices)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("pending (-want +got): %v\n%s", err, diff)
	}
}

func changeCommand(t *testing.T, s CommandStore, id string, change func(hearth.Command) hearth.Command) hearth.Command {
	t.Helper()
	after, err := updateCommand(t, s, id, func(c hearth.Command) (hearth.Command, error) { return change(c), nil }, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func commandPages(t *testing.T, s CommandStore) {
	device, other := commandDevice(t, s, 1), commandDevice(t, s, 2)
	for n := range 6 {
		c := ordered(device, n)
		c.CreatedAt = epoch.Add(time.Duration(n/2) * time.Second) // pairs of the same time
		if n == 3 {
			c.State = hearth.CommandSucceeded
		}
		if n == 5 {
			c.DeviceID = other
		}
		createCommand(t, s, c)
	}
	for _, tt := range []struct {
		filter hearth.CommandFilter
		order  []int
	}{
		{hearth.CommandFilter{DeviceID: device}, []int{4, 3, 2, 1, 0}}, {hearth.CommandFilter{DeviceID: other}, []int{5}},
		{hearth.CommandFilter{DeviceID: device, State: hearth.CommandQueued}, []int{4, 2, 1, 0}},
		{hearth.CommandFilter{DeviceID: device, State: hearth.CommandSucceeded}, []int{3}},
		{hearth.CommandFilter{DeviceID: device, State: hearth.CommandFailed}, nil},
	} {
		var want, got []string
		for _, n := range tt.order {
			want = append(want, ordered("", n).ID)
		}
		page := hearth.Page{Limit: 2, Count: true}
		for {
			list, err := s.Commands(t.Context(), tt.filter, page)
			if err != nil {
				t.Fatal(err)
			}
			if list.Total != int64(len(want)) {
				t.Errorf("%v: a total of %d", tt.filter, list.Total)
			}
			for _, c := range list.Items {
				got = append(got, c.ID)
			}
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.filter, diff)
		}
	}
}

func commandUpdates(t *testing.T, s CommandStore) {
	device := commandDevice(t, s, 1)
	c := createCommand(t, s, ordered(device, 1))
	refused := errors.New("no")
	_, err := updateCommand(t, s, c.ID, func(c hearth.Command) (hearth.Command, error) {
		c.State = hearth.CommandCancelled
		return c, refused
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}})
	if !errors.Is(err, refused) {
		t.Errorf("a refused change returned %v", err)
	}
	if got, err := s.Command(t.Context(), c.ID); err != nil || got.State != hearth.CommandQueued {
		t.Errorf("after a refused change: %v, %v", got, err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
	// Of many answers at once one ends the command.
	var mu sync.Mutex
	ended := 0
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			_, err := updateCommand(t, s, c.ID, func(c hearth.Command) (hearth.Command, error) {
				if c.State.Ended() {
					return c, refused
				}
				return c.Answered(hearth.CommandAnswer{OK: true, Result: json.RawMessage(fmt.Sprint(n))}, epoch), nil
			}, hearth.SideEffects{})
			switch mu.Lock(); {
			case err == nil:
				ended++
			case !errors.Is(err, refused):
				t.Error(err)
			}
			mu.Unlock()
		})
	}
	if wg.Wait(); ended != 1 {
		t.Errorf("the command ended %d times", ended)
	}
	after, err := s.Command(t.Context(), c.ID)
	if err != nil || after.State != hearth.CommandSucceeded || !after.DeliveredAt.Equal(epoch) || after.Result == nil {
		t.Errorf("after it: %+v, %v", after, err)
	}
	_, err = updateCommand(t, s, "none", func(c hearth.Command) (hearth.Command, error) { return c, nil }, hearth.SideEffects{})
	if hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("no command: %v", err)
	}
}

func commandBound(t *testing.T, s CommandStore) {
	device, free := commandDevice(t, s, 1), commandDevice(t, s, 2)
	batch := hearth.CommandBatch{
		ID: "fill", Total: hearth.MaxOpenCommands, Name: "x", CreatedBy: "ann", CreatedAt: epoch, ExpiresAt: epoch.Add(time.Hour),
		DeviceIDs: slices.Repeat([]string{device}, hearth.MaxOpenCommands),
	}
	if err := s.CreateCommandBatch(t.Context(), batch, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	of := func(b hearth.CommandBatch, id string) hearth.Command {
		n++
		c := ordered(id, n)
		c.Batch, c.CreatedAt, c.ExpiresAt = b.ID, b.CreatedAt, b.ExpiresAt
		return c
	}
	for range 4 {
		if _, _, err := s.PlaceCommands(t.Context(), "fill", 250, of, endedJobs); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := storeCommand(t, s, ordered(device, 5000), hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("one more: %v", err)
	}
	more := batch
	more.ID, more.DeviceIDs, more.Total = "more", []string{device, free, "gone"}, 3
	if err := s.CreateCommandBatch(t.Context(), more, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	n = 6000
	placed, _, err := s.PlaceCommands(t.Context(), "more", 10, of, endedJobs)
	if err != nil || len(placed) != 2 || placed[0].State != hearth.CommandFailed || placed[0].First || placed[1].State != hearth.CommandQueued ||
		!placed[1].First {
		t.Errorf("placed %+v, %v", placed, err)
	}
	checkEndedJobs(t, s, placed[0].ID)
	next, err := s.NextCommand(t.Context(), device, 0, epoch)
	if err != nil {
		t.Fatal(err)
	}
	changeCommand(t, s, next.ID, func(c hearth.Command) hearth.Command { return c.Answered(hearth.CommandAnswer{OK: true}, epoch) })
	createCommand(t, s, ordered(device, 5001))
}

func commandExpiry(t *testing.T, s CommandStore) {
	device := commandDevice(t, s, 1)
	for n := range 30 {
		c := ordered(device, n)
		switch n % 3 {
		case 1:
			c.State = hearth.CommandDelivered
		case 2:
			c.State = hearth.CommandSucceeded
		}
		createCommand(t, s, c)
	}
	if due, err := s.DueCommands(t.Context(), 2); err != nil || len(due) != 2 || due[0].ID != ordered("", 0).ID || due[1].ID != ordered("", 1).ID {
		t.Errorf("due are %+v, %v", due, err)
	}
	now := epoch.Add(time.Hour + 14*time.Second) // those up to 14
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				due, err := s.DueCommands(t.Context(), 3)
				ids := make([]string, len(due))
				for i, c := range due {
					ids[i] = c.ID
				}
				if err != nil || len(due) == 0 || due[0].ExpiresAt.After(now) {
					return
				}
				expired, err := s.ExpireCommands(t.Context(), now, ids, endedJobs)
				if err != nil {
					t.Error(err)
				}
				if err != nil {
					return
				}
				mu.Lock()
				for _, c := range expired {
					if seen[c.ID]++; c.State != hearth.CommandExpired || !c.CompletedAt.Equal(c.ExpiresAt) {
						t.Errorf("expired: %+v", c)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for n := range 30 {
		id := ordered("", n).ID
		c, err := s.Command(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if want := n <= 14 && n%3 != 2; (seen[id] == 1) != want || (c.State == hearth.CommandExpired) != want {
			t.Errorf("command %d was returned %d times and is %s", n, seen[id], c.State)
		}
	}
	expectPending(t, s, map[string]int{device: 5}, device)
	checkEndedJobs(t, s, slices.Collect(maps.Keys(seen))...)
}

func commandRemoval(t *testing.T, s CommandStore) {
	device := commandDevice(t, s, 1)
	for n := range 6 {
		c := ordered(device, n)
		if n != 1 {
			c.State = hearth.CommandExpired
		}
		createCommand(t, s, c)
	}
	for n := range 2 {
		b := hearth.CommandBatch{ID: fmt.Sprint("b", n), CreatedAt: epoch, ExpiresAt: ordered("", 3*n).ExpiresAt}
		if err := s.CreateCommandBatch(t.Context(), b, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	now := ordered("", 2).ExpiresAt.Add(hearth.CommandTTL)
	for _, want := range []int{2, 1, 0} { // the batch 0, and the commands 0 and 2
		if n, err := s.RemoveCommands(t.Context(), now, 2); err != nil || n != want {
			t.Errorf("removed %d, %v; want %d", n, err, want)
		}
	}
	for n := range 6 {
		_, err := s.Command(t.Context(), ordered("", n).ID)
		if gone := hearth.ErrorCode(err) == hearth.CodeNotFound; gone != (n == 0 || n == 2) {
			t.Errorf("command %d: %v", n, err)
		}
	}
	if _, _, err := s.CommandBatch(t.Context(), "b0"); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a removed batch: %v", err)
	}
	if _, _, err := s.CommandBatch(t.Context(), "b1"); err != nil {
		t.Error(err)
	}
}

func commandsOfDeletedDevice(t *testing.T, s CommandStore) {
	gone, kept := commandDevice(t, s, 1), commandDevice(t, s, 2)
	createCommand(t, s, ordered(gone, 1))
	createCommand(t, s, ordered(kept, 2))
	if err := s.DeleteDevice(t.Context(), gone, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Command(t.Context(), ordered("", 1).ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("its command: %v", err)
	}
	if _, err := s.Command(t.Context(), ordered("", 2).ID); err != nil {
		t.Errorf("another's: %v", err)
	}
}

func commandBatch(t *testing.T, s CommandStore) {
	devices := []string{commandDevice(t, s, 1), commandDevice(t, s, 2), commandDevice(t, s, 3), "never there"}
	want := hearth.CommandBatch{
		ID: "b", DeviceIDs: devices, Total: 4, Name: "x", Params: json.RawMessage(`[1]`), CreatedBy: "ann", CreatedAt: epoch,
		ExpiresAt: epoch.Add(time.Hour),
	}
	if err := s.CreateCommandBatch(t.Context(), want, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}); err != nil {
		t.Fatal(err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 1 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
	look := func(ids []string, counts map[hearth.CommandState]int64) {
		t.Helper()
		want.DeviceIDs = ids
		b, got, err := s.CommandBatch(t.Context(), "b")
		if diff := cmp.Diff(want, b, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		total := int64(0)
		for state, n := range got {
			if total += n; n != counts[state] {
				t.Errorf("%d are %s, want %d", n, state, counts[state])
			}
		}
		if total != 4 {
			t.Errorf("%d are counted", total)
		}
	}
	look(devices, map[hearth.CommandState]int64{hearth.CommandQueued: 4})
	n := 0
	of := func(b hearth.CommandBatch, id string) hearth.Command {
		n++
		c := ordered(id, n)
		c.Batch, c.Name, c.Params = b.ID, b.Name, b.Params
		return c
	}
	placed, _, err := s.PlaceCommands(t.Context(), "b", 1, of, endedJobs)
	if err != nil || len(placed) != 1 || placed[0].DeviceID != devices[0] || placed[0].Seq == 0 || !placed[0].First {
		t.Fatalf("placed %+v, %v", placed, err)
	}
	changeCommand(t, s, placed[0].ID, func(c hearth.Command) hearth.Command { return c.Sent(epoch) })
	look(devices[1:], map[hearth.CommandState]int64{hearth.CommandQueued: 3, hearth.CommandSent: 1})
	if err := s.DeleteDevice(t.Context(), devices[1], func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if placed, _, err = s.PlaceCommands(t.Context(), "b", 10, of, endedJobs); err != nil || len(placed) != 1 || placed[0].DeviceID != devices[2] {
		t.Fatalf("placed %+v, %v", placed, err)
	}
	look(nil, map[hearth.CommandState]int64{hearth.CommandQueued: 1, hearth.CommandSent: 1, hearth.CommandCancelled: 2})
	if placed, after, err := s.PlaceCommands(t.Context(), "b", 10, of, endedJobs); err != nil || len(placed) != 0 || len(after.DeviceIDs) != 0 {
		t.Errorf("placed again: %v, %v", placed, err)
	}
	if _, _, err := s.PlaceCommands(t.Context(), "none", 10, of, endedJobs); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("of no batch: %v", err)
	}
}
