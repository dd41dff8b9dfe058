package sqlite

import (
	"fmt"
	"testing"
	"time"

	"hearth"
)

// BenchmarkRecords does what people and devices ask for most: a login, and the look-ups of requests.
func BenchmarkRecords(b *testing.B) {
	s := openTest(b)
	loginBench(b, s)
	ctx, now, logins := b.Context(), time.Now(), 0
	login := func() error {
		logins++
		id := fmt.Sprint("session", logins)
		_, _, err := s.CreateSession(ctx, hearth.NewSession{
			Session: hearth.Session{
				ID: id, UserID: "ann", Device: []byte("0123456789abcdef"), CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(time.Hour),
			},
			RefreshHash: []byte(id),
			Decide: func(u hearth.User, _, _ bool) (hearth.UserChange, error) {
				u.LastLoginAt = now.Add(time.Duration(logins) * time.Millisecond)
				return hearth.UserChange{User: u}, nil
			},
		})
		return err
	}
	for range 20 {
		if err := login(); err != nil {
			b.Fatal(err)
		}
	}
	token := hearth.DeviceToken{ID: "token", DeviceID: "device0", Hash: []byte("hash"), CreatedAt: now}
	if err := s.CreateDeviceToken(ctx, token, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		do   func() error
	}{
		{"session", func() error { _, _, err := s.Session(ctx, "session1"); return err }},
		{"user", func() error { _, err := s.User(ctx, "ann"); return err }},
		{"sessions", func() error { _, err := s.Sessions(ctx, "ann", now); return err }},
		{"token", func() error { _, err := s.DeviceTokenByHash(ctx, token.Hash); return err }},
		{"login", login},
	} {
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				if err := tt.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
