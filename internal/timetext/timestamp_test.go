package timetext

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestATimestampIsReadAsTheStandardLibraryReadsIt(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	layouts := []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.0Z07:00",
		"2006-01-02T15:04:05.000000000Z07:00",
	}
	for range 200_000 {
		at := time.Unix(random.Int64N(315537897600)-62135596800, random.Int64N(1e9))
		zone := time.FixedZone("", (random.IntN(47*60)-23*60)*60)
		text := at.In(zone).Format(layouts[random.IntN(len(layouts))])
		var want time.Time
		wantOK := want.UnmarshalText([]byte(text)) == nil
		got, ok := ParseTimestamp(text)
		if ok != wantOK || ok && got != want.UnixMilli() {
			t.Fatalf("%s: got %d %t, want %d %t", text, got, ok, want.UnixMilli(), wantOK)
		}
	}
}

func TestATimestampIsCutToMillisecondsAndStrict(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1970-01-01T00:00:00Z":                        0,
		"1969-12-31T23:59:59.9999Z":                   -1,
		"2024-02-29T12:00:00.123456789123+02:00":      1709200800123,
		"0001-01-01T00:00:00Z":                        -62135596800000,
		"9999-12-31T23:59:59.999Z":                    253402300799999,
		"2017-03-08T23:56:17.000Z":                    1489017377000,
		"2000-01-01T00:00:00-00:30":                   946686600000,
		"2000-01-01T00:00:00.5+23:59":                 946598460500,
		"2100-03-01T00:00:00.00000000000000000-01:00": 4107546000000,
	} {
		if got, ok := ParseTimestamp([]byte(text)); !ok || got != want {
			t.Errorf("%s: got %d %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "2017", "2017-03-08", "2017-03-08T23:56:17", "2017-03-08 23:56:17Z", "2017-03-08T23:56:17z", "2017-02-29T00:00:00Z",
		"2017-13-01T00:00:00Z", "2017-00-01T00:00:00Z", "2017-01-00T00:00:00Z", "2017-01-01T24:00:00Z", "2017-01-01T00:60:00Z",
		"2016-12-31T23:59:60Z", "2017-01-01T00:00:00.Z", "2017-01-01T00:00:00.5", "2017-01-01T00:00:00+24:00",
		"2017-01-01T00:00:00+01:60", "2017-01-01T00:00:00+0100", "2017-01-01T00:00:00ZZ", "2017-01-01T00:00:00,5Z",
		"-017-01-01T00:00:00Z", "12017-01-01T00:00:00Z", "2017-1-01T00:00:00.0Z", "1900-02-29T00:00:00Z",
	} {
		if got, ok := ParseTimestamp(text); ok {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}

func FuzzParseTimestamp(f *testing.F) {
	for _, seed := range []string{"2017-03-08T23:56:17.000Z", "2024-02-29T12:00:00.123456789+02:00", "0000-01-01T00:00:00-00:00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := ParseTimestamp(text)
		if !ok {
			return
		}
		// The standard library takes more (hours of one digit, commas), never less.
		var want time.Time
		if err := want.UnmarshalText([]byte(text)); err != nil || got != want.UnixMilli() {
			t.Errorf("%q: got %d, want %d %v", text, got, want.UnixMilli(), err)
		}
	})
}
