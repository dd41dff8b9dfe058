package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSerials(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.create(`{"name":"a","type":"t","serial":"SN 1"}`)
	plain := f.create(`{"name":"b","type":"t","serial":null}`)
	if got := f.call("ann", "GET", "/devices/"+id, ""); got.text("serial") != "SN 1" {
		t.Errorf("got %s", got.raw)
	}
	if got := f.call("ann", "GET", "/devices/"+plain, ""); !strings.Contains(got.raw, `"serial":null`) {
		t.Errorf("got %s", got.raw)
	}

	taken := func(got reply, location string) {
		t.Helper()
		f.want(got, 409, "conflict")
		if !strings.Contains(got.raw, fmt.Sprintf("%q", location)) {
			t.Errorf("%s does not name %s", got.raw, location)
		}
	}
	taken(f.call("ann", "POST", "/devices", `{"name":"c","type":"t","serial":"SN 1"}`), "body.serial")
	taken(f.call("ann", "PATCH", "/devices/"+plain, `{"serial":"SN 1"}`), "body.serial")
	taken(f.call("ann", "POST", "/devices/batch", `{"items":[{"name":"c","type":"t"},{"name":"d","type":"t","serial":"SN 1"}]}`), "body.items[1].serial")
	taken(f.call("ann", "POST", "/devices/batch",
		`{"items":[{"name":"c","type":"t","serial":"x"},{"name":"d","type":"t","serial":"x"}]}`), "body.items[1].serial")
	f.want(f.call("bob", "POST", "/devices", `{"name":"c","type":"t","serial":"SN 1"}`), 201, "")

	for _, serial := range []string{"", " ", " a", "a ", "a/b", "a+b", "#", "é", "a\\u0000", strings.Repeat("x", 65)} {
		f.want(f.call("ann", "POST", "/devices", `{"name":"c","type":"t","serial":"`+serial+`"}`), 422, "validation_failed")
	}

	f.want(f.call("ann", "PATCH", "/devices/"+id, `{"serial":null}`), 200, "")
	f.want(f.call("ann", "PATCH", "/devices/"+plain, `{"serial":"SN 1"}`), 200, "")
	if got := f.call("ann", "GET", "/devices?serial=SN%201", "").names(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %v, want the device that has the serial now", got)
	}
	if got := f.call("ann", "GET", "/devices?serial=sn%201", "").names(); got != nil {
		t.Errorf("got %v for another spelling", got)
	}
}
