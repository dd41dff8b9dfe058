package account_test

import (
	"testing"

	"hearth"
	"hearth/internal/core/account"
)

func benchGrant(b *testing.B) (*house, account.Grant) {
	b.Helper()
	h := newHouse(b, func(o *account.Options) { o.Clock = nil })
	h.clock = nil
	if _, err := h.CreateUser(b.Context(), account.NewUser{Name: "Ann", Email: email, Password: password, Role: hearth.RoleUser}); err != nil {
		b.Fatal(err)
	}
	grant, err := h.Login(b.Context(), here, account.Credentials{Email: email, Password: password})
	if err != nil {
		b.Fatal(err)
	}
	return h, grant
}

// BenchmarkAuthenticate is what every request pays for its access token: a known token of a known session.
func BenchmarkAuthenticate(b *testing.B) {
	h, grant := benchGrant(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Authenticate(ctx, grant.AccessToken); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAuthenticateParallel is the same from every processor at once.
func BenchmarkAuthenticateParallel(b *testing.B) {
	h, grant := benchGrant(b)
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.Authenticate(ctx, grant.AccessToken); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkVerify is the first request with a token: a signature is checked.
func BenchmarkVerify(b *testing.B) {
	h, grant := benchGrant(b)
	bad := []byte(grant.AccessToken)
	if bad[len(bad)-10] == 'A' { // a wrong signature is never cached
		bad[len(bad)-10] = 'B'
	} else {
		bad[len(bad)-10] = 'A'
	}
	ctx, token := b.Context(), string(bad)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Authenticate(ctx, token); err == nil {
			b.Fatal("a wrong signature was taken")
		}
	}
}
