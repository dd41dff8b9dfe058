package config_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"hearth/internal/config"
)

func TestParseRateLimits(t *testing.T) {
	t.Parallel()
	got, err := config.ParseRateLimits(" auth = 1000/1s , general=off,")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default().RateLimits
	want[config.LimitAuth] = config.RateLimit{Count: 1000, Per: time.Second}
	want[config.LimitGeneral] = config.RateLimit{}
	if !maps.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if got, err := config.ParseRateLimits("off"); got != nil || err != nil {
		t.Errorf(`"off" gives %v, %v; want no limits`, got, err)
	}
	for _, bad := range []string{
		"auth", "auth=", "auth=5", "auth=5/", "auth=/1m", "auth=0/1m", "auth=-1/1m", "auth=+5/1m", "auth=5/0s", "auth=5/25h",
		"auth=1000001/1m", "auth=5/1m,auth=6/1m", "=5/1m", "auth=5/1m/2", "AUTH=5/1m", "on", "auth=5/1m;devices=1/1m", "auth=99999999999999999999/1m",
	} {
		if got, err := config.ParseRateLimits(bad); err == nil {
			t.Errorf("ParseRateLimits(%q) = %v; want an error", bad, got)
		}
	}
}

func TestParseQuotas(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "bytes=off,device_events=1000,devices=off,events=5000,logs=off",
		"events=9":                       "bytes=off,device_events=1000,devices=off,events=9,logs=off",
		"events = off , device_events=7": "bytes=off,device_events=7,devices=off,events=off,logs=off",
		"bytes=2GiB,devices=5":           "bytes=2GiB,device_events=1000,devices=5,events=5000,logs=off",
		"off":                            "off",
	} {
		got, err := config.ParseQuotas(text)
		if err != nil || got.String() != want {
			t.Errorf("ParseQuotas(%q) = %v, %v; want %s", text, got, err, want)
		}
		if again, err := config.ParseQuotas(got.String()); err != nil || again.String() != want {
			t.Errorf("ParseQuotas(%q) = %v, %v; want the same again", got, again, err)
		}
	}
	for _, bad := range []string{"events", "events=0", "events=-1", "events=+1", "events=1.5", "events=1,events=2", "event=1", "logs/1d=5", "events=99999999999999999999", "bytes=0", "bytes=2GB", "events=2GiB"} {
		if got, err := config.ParseQuotas(bad); err == nil {
			t.Errorf("ParseQuotas(%q) = %v; want an error", bad, got)
		}
	}
}

func TestParseConcurrency(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "channel=100,cleanup=1,export=5,notification=10",
		" export = 2 ,cleanup=0": "channel=100,cleanup=0,export=2,notification=10", //nolint:gocritic // spaces are passed over
		"notification=1000,":     "channel=100,cleanup=1,export=5,notification=1000",
	} {
		got, err := config.ParseConcurrency(text)
		if err != nil || got.String() != want {
			t.Errorf("ParseConcurrency(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"export", "export=", "export=-1", "export=+1", "export=1.5", "export=1,export=1", "=1", "mail=1", "off"} {
		if got, err := config.ParseConcurrency(bad); err == nil {
			t.Errorf("ParseConcurrency(%q) = %v; want an error", bad, got)
		}
	}
}

func FuzzParseRateLimits(f *testing.F) {
	for _, seed := range []string{"off", "", "auth=5/1m", "auth=5/1m,exports=10/1h,general=off", "auth=1000000/1d", "a=b=c/,,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limits, err := config.ParseRateLimits(text)
		if err != nil {
			return
		}
		for class, limit := range limits {
			if limit != (config.RateLimit{}) && (limit.Count < 1 || limit.Per < time.Millisecond || limit.Per > 24*time.Hour) {
				t.Fatalf("%q gives %s %+v, out of bounds", text, class, limit)
			}
		}
		again, err := config.ParseRateLimits(limits.String())
		if err != nil || !maps.Equal(again, limits) || (again == nil) != (limits == nil) {
			t.Fatalf("%q reads as %v, which writes as %q and reads as %v, %v", text, limits, limits, again, err)
		}
	})
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Bytes{"1": 1, "512B": 512, "64KiB": 64 << 10, "16MiB": 16 << 20, "8GiB": 8 << 30} {
		if got, err := config.ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "-1", "1.5MiB", "1MB", "1k", "MiB", "9223372036854775808", "9007199254740992GiB", "1 MiB"} {
		if got, err := config.ParseBytes(bad); err == nil {
			t.Errorf("ParseBytes(%q) = %d; want an error", bad, got)
		}
	}
	for _, size := range []config.Bytes{1, 1023, 1024, 1536, 5 << 20, 1<<62 + 1} {
		if got, err := config.ParseBytes(size.String()); err != nil || got != size {
			t.Errorf("%d writes as %s, which reads as %d, %v", int64(size), size, int64(got), err)
		}
	}
}

func TestAKeyNeverPrints(t *testing.T) {
	t.Parallel()
	key := config.Key{1, 2, 3}
	text, err := key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		fmt.Sprint(key), fmt.Sprintf("%v", key), fmt.Sprintf("%+v", key), fmt.Sprintf("%#v", key), fmt.Sprintf("%x", key),
		fmt.Sprintf("%d", key), fmt.Sprintf("%s", &key), string(text), key.LogValue().String(),
	} {
		if got != "REDACTED" {
			t.Errorf("the key prints as %q", got)
		}
	}
}
