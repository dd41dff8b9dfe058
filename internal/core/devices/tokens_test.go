package devices

import (
	"strings"
	"testing"

	"hearth"
)

func TestATokenSpeaksForItsDeviceUntilItIsTakenBack(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	ctx := t.Context()
	first, second := b.create(t, ann, NewDevice{}), b.create(t, ann, NewDevice{})
	var issued []IssuedToken
	for _, id := range []string{first.ID, first.ID, second.ID} {
		token, err := b.CreateToken(ctx, ann, id, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(token.Secret) != 46 || !strings.HasPrefix(token.Secret, "hd_") {
			t.Errorf("the token %q is not hd_ and 43 characters", token.Secret)
		}
		issued = append(issued, token)
	}
	speaks := func(n int, id string) {
		t.Helper()
		for range 2 { // from the store, and from memory
			caller, err := b.Authenticate(ctx, issued[n].Secret)
			if id == "" {
				wantCode(t, err, hearth.CodeUnauthenticated)
			} else if err != nil || caller.DeviceID != id || caller.IsUser() {
				t.Errorf("token %d gives %+v (%v)", n, caller, err)
			}
		}
	}
	speaks(0, first.ID)
	speaks(1, first.ID)
	speaks(2, second.ID)
	wantCode(t, b.DeleteToken(ctx, ann, second.ID, issued[0].ID), hearth.CodeNotFound)
	if err := b.DeleteToken(ctx, ann, first.ID, issued[0].ID); err != nil {
		t.Fatal(err)
	}
	speaks(0, "")
	speaks(1, first.ID)
	if err := b.Delete(ctx, ann, second.ID, nil); err != nil {
		t.Fatal(err)
	}
	speaks(2, "")
	for _, token := range []string{"", "hd_", "hd_" + strings.Repeat("x", 43), issued[1].Secret + "x", issued[1].Secret[3:], strings.ToUpper(issued[1].Secret)} {
		_, err := b.Authenticate(ctx, token)
		wantCode(t, err, hearth.CodeUnauthenticated)
	}
}

func TestTokensAreListedPageByPage(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	d := b.create(t, ann, NewDevice{})
	var want []string
	for range 5 {
		token, err := b.CreateToken(t.Context(), ann, d.ID, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, token.ID)
	}
	var got []string
	page := hearth.Page{Limit: 2, Count: true}
	for {
		list, err := b.Tokens(t.Context(), ann, d.ID, page)
		if err != nil {
			t.Fatal(err)
		}
		if list.Total != int64(5-len(got)/3) { // one goes after the first two pages
			t.Errorf("total %d after %d", list.Total, len(got))
		}
		for _, token := range list.Items {
			got = append(got, token.ID)
		}
		if list.Next.IsZero() {
			break
		}
		page.Cursor = list.Next
		if len(got) == 4 {
			if err := b.DeleteToken(t.Context(), ann, d.ID, got[3]); err != nil { // the cursor's own
				t.Fatal(err)
			}
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
}
