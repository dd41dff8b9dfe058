package realtime

import (
	"testing"
	"time"

	"hearth"
)

// key is a caller with an API key that is bound to an organization.
func key(org string, scopes ...hearth.KeyScope) func(*hearth.Caller) {
	return func(c *hearth.Caller) {
		c.SessionID, c.KeyID, c.Scopes, c.OnlyOrg = "", newID(), scopes, org
		c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer}
	}
}

func TestASocketOfAnAPIKeyJoinsItsOrganizationAlone(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	org := newID()
	ann, token := w.user(0, key(org, hearth.KeyTelemetryRead))
	lamp, pump := w.device(ownedBy(ann.UserID)), w.device(inOrg(org))
	s := w.dial(t, nil)
	connected := s.connect(t, token)
	if _, ok := connected.Connect.Subs["org:"+org]; !ok || len(connected.Connect.Subs) != 1 {
		t.Fatalf("joined %+v, want the organization's channel", connected.Connect.Subs)
	}
	for channel, want := range map[string]int{
		deviceChannel(pump): 0, deviceChannel(lamp): 103, "user:" + ann.UserID: 103, "inbox:" + ann.UserID: 103, "org:" + newID(): 103,
	} {
		s.command(t, "subscribe", map[string]any{"channel": channel})
		r, code := s.read(t)
		got := 0
		if r.Error != nil {
			got = r.Error.Code
		}
		if got != want || code != 0 {
			t.Errorf("subscribing to %q gives %d (close %d), want %d", channel, got, code, want)
		}
	}
	w.node.SessionsEnded(ann.UserID, []string{ann.KeyID})
	if code := s.closeCode(t); code != 3500 {
		t.Errorf("closed with %d", code)
	}
}

func TestAnAPIKeyThatMayNotWatchIsRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	_, narrow := w.user(0, key(newID(), hearth.KeyDevicesRead))
	_, left := w.user(0, key(newID(), hearth.KeyTelemetryRead), func(c *hearth.Caller) { c.Orgs = nil })
	for name, token := range map[string]string{"without the scope": narrow, "of an organization that its owner left": left} {
		s := w.dial(t, nil)
		s.command(t, "connect", map[string]any{"token": token})
		if r, code := s.read(t); code != 3507 {
			t.Errorf("%s: %+v, close code %d", name, r, code)
		}
	}
}

func TestConnectionsEndWhenTheirAPIKeyExpires(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.Recheck = 20 * time.Millisecond })
	_, token := w.user(0, key(newID(), hearth.KeyTelemetryRead))
	s, stream := w.dial(t, nil), w.open(t, token, "", "")
	stream.head(t)
	s.connect(t, token)
	w.accounts.refuse(token, hearth.CodeTokenExpired)
	stream.ended(t)
	if code := s.closeCode(t); code != 3500 {
		t.Errorf("closed with %d", code)
	}
}
