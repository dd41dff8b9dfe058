package realtime

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
)

func TestAStreamCarriesWhatItsChannelsCarryOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	org := newID()
	ann, token := w.user(0, func(c *hearth.Caller) { c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer} })
	lamp, door := w.device(ownedBy(ann.UserID)), w.device(ownedBy(ann.UserID))
	pump := w.device(inOrg(org))

	all := w.open(t, token, "", "")
	one := w.open(t, token, channels(devicePrefix+strings.ToUpper(lamp.ID)), "") // ids are read in either case
	both := w.open(t, token, channels(deviceChannel(lamp), "user:"+ann.UserID, "org:"+org, deviceChannel(pump)), "")
	for _, s := range []*eventStream{all, one, both} {
		s.head(t)
	}

	w.node.Publish(heartbeat(lamp, 1), heartbeat(door, 2), heartbeat(pump, 3), note(ann.UserID, 4))

	one.expect(t, 1, 4)
	// Events of two scopes have no order between them.
	for name, want := range map[*eventStream][]int{all: {1, 2, 4}, both: {1, 2, 3, 4}} {
		seen := map[int]int{}
		for range want {
			event, ok := name.next(t)
			if !ok {
				t.Fatal("the stream ended")
			}
			seen[event.number(t)]++
		}
		for _, number := range want {
			if seen[number] != 1 {
				t.Errorf("event %d came %d times, want once", number, seen[number])
			}
		}
	}
	// Nothing is left over that came twice.
	w.node.Publish(note(ann.UserID, 5))
	for _, s := range []*eventStream{all, one, both} {
		s.expect(t, 5)
	}
}

func TestAStreamSaysHowItIsToBeRead(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	_, token := w.user(0)
	s := w.open(t, token, "", "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "",
	} {
		if got := s.response.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if head := s.head(t); head.ID == "" || head.Retry == "" || head.Data != "" {
		t.Errorf("the stream begins with %+v, want an id and a retry hint and no event", head)
	}
}

func TestAnIdleStreamGetsComments(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.Heartbeat = 50 * time.Millisecond })
	_, token := w.user(0)
	s := w.open(t, token, "", "")
	s.head(t)
	for range 3 {
		select {
		case block := <-s.blocks:
			if !block.Comment || block.Data != "" {
				t.Fatalf("got %+v, want a comment", block)
			}
		case <-time.After(patience):
			t.Fatal("no comment came")
		}
	}
}

func TestAStreamGoesOnWhereItsClientLeftIt(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	org := newID()
	ann, token := w.user(0, func(c *hearth.Caller) { c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer} })
	lamp, pump := w.device(ownedBy(ann.UserID)), w.device(inOrg(org))
	query := channels(deviceChannel(lamp), deviceChannel(pump))

	s := w.open(t, token, query, "")
	s.head(t)
	s.close()
	// Even before the first event there is a place to come back to.
	w.node.Publish(heartbeat(lamp, 1))
	s = w.open(t, token, query, s.lastID)
	s.expect(t, 1)
	witness := w.open(t, token, query, "")
	witness.head(t)
	at := time.Now()
	for round := range 20 {
		first := 2 + round*4
		w.node.Publish(heartbeat(lamp, first))
		s.expect(t, first)
		witness.expect(t, first)
		s.close()
		for i := 1; i < 4; i++ {
			device := lamp
			if i == 2 {
				device = pump
			}
			event := heartbeat(device, first+i)
			event.At = at
			w.node.Publish(event)
			// The next event is published after this one, whatever their partitions, and later by its own clock.
			witness.expect(t, first+i)
			at = at.Add(time.Millisecond)
		}
		id := s.lastID
		if round%2 == 0 {
			s = w.open(t, token, query, id)
		} else {
			s = w.open(t, token, query+"&last_event_id="+id, "")
			s.lastID = id
		}
		s.expect(t, first+1, first+2, first+3)
	}
}

func TestAnIDThatCannotBePlacedGivesAResetFirst(t *testing.T) { //nolint:tparallel // one stream sees what each publishes
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.History.Size = 10 })
	other := newFixture(t)
	ann, token := w.user(0)
	_, stranger := w.user(0)
	bob, bobs := other.user(0)
	lamp := w.device(ownedBy(ann.UserID))

	s := w.open(t, token, "", "")
	s.head(t)
	old := s.lastID
	elsewhere := other.open(t, bobs, "", "")
	elsewhere.head(t)
	_ = bob
	for i := range 30 {
		w.node.Publish(heartbeat(lamp, i))
		s.expect(t, i)
	}
	forged := []byte(s.lastID)
	forged[len(forged)/2] ^= 1
	tests := []struct{ name, token, id string }{
		{"too old", token, old},
		{"forged", token, string(forged)},
		{"malformed", token, "42"},
		{"not base64", token, "!!! ### data: x"},
		{"huge", token, strings.Repeat("A", 100_000)},
		{"of another process", token, elsewhere.lastID},
		{"of another person's channels", stranger, s.lastID},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id := test.id
			query := ""
			if test.name == "huge" { // a header of this size is refused by the server itself
				query, id = "last_event_id="+id, ""
			}
			back := w.open(t, test.token, query, id)
			event, ok := back.next(t)
			if !ok || event.Type != "reset" || event.ID == "" {
				t.Fatalf("first came %+v, want a reset with an id", event)
			}
			if test.token != token {
				return
			}
			w.node.Publish(heartbeat(lamp, 100))
			back.expect(t, 100)
			s.expect(t, 100)
		})
	}
}

func TestAFullQueueIsAGapThatReadersLearnOf(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	var once sync.Once
	open := func() { once.Do(func() { close(gate) }) }
	t.Cleanup(open)
	w := newFixture(t, func(o *Options) {
		o.queueSize = 10
		o.Encode = func(event hearth.Event) (json.RawMessage, error) { <-gate; return encodeNumber(event) }
	})
	ann, token := w.user(0)
	lamp := w.device(ownedBy(ann.UserID))
	s := w.open(t, token, "", "")
	s.head(t)

	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			w.node.Publish(heartbeat(lamp, i))
		}
	}()
	select {
	case <-done: // a writer is not held up while nothing can be published
	case <-time.After(patience):
		t.Fatal("publishing blocks")
	}
	open()
	// What was accepted comes in order, then the stream ends and its reader is notified on coming back.
	last := -1
	for {
		event, ok := s.next(t)
		if !ok {
			break
		}
		if number := event.number(t); number != last+1 {
			t.Fatalf("event %d came after %d", number, last)
		}
		last++
	}
	if last >= 99 {
		t.Fatal("nothing was dropped")
	}
	back := w.open(t, token, "", s.lastID)
	if event, _ := back.next(t); event.Type != "reset" {
		t.Fatalf("first came %+v, want a reset", event)
	}
	w.node.Publish(heartbeat(lamp, 200))
	// What was accepted behind the gap may still come first, in order.
	for number := last; number != 200; {
		event, ok := back.next(t)
		if !ok {
			t.Fatal("the stream ended")
		}
		next := event.number(t)
		if next <= number || next > 99 && next != 200 {
			t.Fatalf("event %d came after %d", next, number)
		}
		number = next
	}
}

func TestWhoMayOpenWhichStream(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	org := newID()
	ann, anns := w.user(0, func(c *hearth.Caller) { c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer} })
	bob, bobs := w.user(0)
	_, root := w.user(0, admin)
	lamp, pump := w.device(ownedBy(ann.UserID)), w.device(inOrg(org))
	deviceToken := w.login(hearth.Caller{DeviceID: lamp.ID}, 0)
	expired := w.login(ann, -time.Hour)
	w.accounts.refuse(expired, hearth.CodeTokenExpired)
	revoked := w.login(ann, 0)
	w.accounts.refuse(revoked, hearth.CodeTokenRevoked)

	tests := []struct {
		name, token, query string
		status             int
		code               hearth.Code
	}{
		{"own device", anns, channels(deviceChannel(lamp)), 200, ""},
		{"own channel", anns, channels("user:" + ann.UserID), 200, ""},
		{"organization", anns, channels("org:" + org), 200, ""},
		{"device of the organization", anns, channels(deviceChannel(pump)), 200, ""},
		{"no channels", bobs, "", 200, ""},
		{"admin, another's channel", root, channels("user:"+ann.UserID, "org:"+org, deviceChannel(pump)), 200, ""},
		{"another's device", bobs, channels(deviceChannel(lamp)), 404, hearth.CodeNotFound},
		{"one of several", bobs, channels("user:"+bob.UserID, deviceChannel(lamp)), 404, hearth.CodeNotFound},
		{"another's channel", bobs, channels("user:" + ann.UserID), 404, hearth.CodeNotFound},
		{"another's inbox", bobs, channels("inbox:" + ann.UserID), 404, hearth.CodeNotFound},
		{"own inbox", anns, channels("inbox:" + ann.UserID), 404, hearth.CodeNotFound},
		{"another organization", bobs, channels("org:" + org), 404, hearth.CodeNotFound},
		{"a device that is not", root, channels("device:" + newID()), 404, hearth.CodeNotFound},
		{"other spelling", anns, channels("user:" + strings.ToUpper(ann.UserID)), 200, ""},
		{"not a channel", anns, channels("nonsense"), 404, hearth.CodeNotFound},
		{"line break", anns, "channels=user:x%0Adata:", 404, hearth.CodeNotFound},
		{"a thousand channels", root, channels(thousand()...), 422, hearth.CodeValidationFailed},
		{"nobody", "", "", 401, hearth.CodeUnauthenticated},
		{"unknown token", "h.e30.x", "", 401, hearth.CodeUnauthenticated},
		{"expired token", expired, "", 401, hearth.CodeTokenExpired},
		{"revoked token", revoked, "", 401, hearth.CodeTokenRevoked},
		{"device", deviceToken, "", 403, hearth.CodeForbidden},
		{"unknown ticket", "", "ticket=abc", 401, hearth.CodeUnauthenticated},
		{"access token in the URL", "", "ticket=" + anns, 401, hearth.CodeUnauthenticated},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, code := w.status(t, test.token, test.query)
			if status != test.status || code != string(test.code) {
				t.Errorf("answers %d %s, want %d %s", status, code, test.status, test.code)
			}
		})
	}
}

func thousand() []string {
	names := make([]string, 1000)
	for i := range names {
		names[i] = "device:" + newID()
	}
	return names
}

func TestATicketOpensOneStream(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, token := w.user(0)
	ticket, err := w.node.IssueTicket(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	const tabs = 20
	results := make(chan int, tabs)
	var streams sync.WaitGroup
	for range tabs {
		streams.Go(func() {
			s, err := w.tryOpen("", "ticket="+ticket, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer s.close()
			results <- s.response.StatusCode
		})
	}
	streams.Wait()
	close(results)
	opened := 0
	for status := range results {
		if status == 200 {
			opened++
		} else if status != 401 {
			t.Errorf("a tab got %d", status)
		}
	}
	if opened != 1 {
		t.Errorf("%d tabs opened a stream with one ticket", opened)
	}
	ticket, err = w.node.IssueTicket(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	s := w.open(t, "", "ticket="+ticket, "")
	s.head(t)
	w.node.Publish(note(ann.UserID, 7))
	s.expect(t, 7)
}

func TestATicketRunsOut(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tickets := NewMemTickets(func() time.Time { return now })
	first, err := tickets.Issue(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(TicketTTL - time.Second)
	second, err := tickets.Issue(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if _, err := tickets.Redeem(t.Context(), first); hearth.ErrorCode(err) != hearth.CodeUnauthenticated {
		t.Errorf("a ticket of %v ago: %v", TicketTTL, err)
	}
	if token, err := tickets.Redeem(t.Context(), second); err != nil || token != "token" {
		t.Errorf("a ticket of a second ago: %q, %v", token, err)
	}
	third, err := tickets.Issue(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour)
	if _, err := tickets.Redeem(t.Context(), third); hearth.ErrorCode(err) != hearth.CodeUnauthenticated {
		t.Errorf("a ticket from before the clock was put back: %v", err)
	}
}
