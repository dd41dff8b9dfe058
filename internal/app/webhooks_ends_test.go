package app_test

import (
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"hearth/internal/apitest"
)

func TestAWebhookIsSentThatADeviceWentOffline(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		r := newReceiver(t, nil)
		w := newHookWorld(t, m)
		w.hook(t, r.url, "device.online", "device.offline")
		made := w.want(t, w.call(t, 0, "POST", "/devices", w.user, apitest.Object{"name": "lamp", "type": "lamp", "heartbeat_interval": 1}), 201, "")
		device := made.text("id")
		token := w.want(t, w.call(t, 1, "POST", "/devices/"+device+"/tokens", w.user, nil), 201, "").text("token")
		for round := range 2 {
			w.want(t, w.call(t, round, "POST", "/devices/"+device+"/heartbeat", token, nil), 200, "")
			heard := time.Now()
			got := r.await(t, 2*round+2)
			for i, want := range []string{"online", "offline"} {
				if one := got[2*round+i]; one.event != "device."+want || one.data["id"] != device || one.data["connection"] != want {
					t.Errorf("round %d: sent %s %v, want %s", round, one.event, one.data, want)
				}
			}
			if silent := got[2*round+1].at.Sub(heard); silent < 2900*time.Millisecond {
				t.Errorf("round %d: offline after %v, and its three intervals are three seconds", round, silent)
			}
		}
	})
}

func TestTheSecretBeforeARotationSignsForADay(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		r := newReceiver(t, nil)
		w := newHookWorld(t, m)
		hook, old := w.hook(t, r.url)
		rotated := w.want(t, w.call(t, 1, "POST", "/webhooks/"+hook+"/rotate-secret", w.user, nil), 200, "").text("secret")
		sent := 0
		verify := func(when string, signatures int, secrets map[string]bool) {
			t.Helper()
			w.want(t, w.call(t, sent, "POST", "/webhooks/"+hook+"/test", w.user, nil), 202, "")
			sent++
			got := r.await(t, sent)[sent-1]
			if n := len(strings.Fields(got.header.Get("Webhook-Signature"))); n != signatures {
				t.Errorf("%s: %d signatures, want %d", when, n, signatures)
			}
			for secret, valid := range secrets {
				verifier, err := standardwebhooks.NewWebhook(secret)
				if err != nil {
					t.Fatal(err)
				}
				if err := verifier.VerifyIgnoringTimestamp(got.body, got.header); (err == nil) != valid {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		verify("rotated", 2, map[string]bool{old: true, rotated: true})
		w.advance(t, 23*time.Hour)
		verify("an hour before the end", 2, map[string]bool{old: true, rotated: true})
		w.advance(t, 61*time.Minute)
		verify("after a day", 1, map[string]bool{old: false, rotated: true})
	})
}
