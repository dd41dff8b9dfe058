package api

import (
	"strings"
	"testing"
)

func TestRangesAreReadByTheStandard(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "", "items=0-1": "", "bytes": "", "bytes=": "", "bytes=-": "", "bytes=5": "", "bytes=a-b": "", "bytes=5-2": "", "bytes=1-2,x": "", "bytes=+1-2": "",
		"bytes=0-1": "bytes=0-1", "Bytes = 0-1": "bytes=0-1", "bytes=3-": "bytes=3-", "bytes=-5": "bytes=-5", "bytes=0-1, ,4-5": "bytes=0-1,4-5",
		"bytes=0-0" + strings.Repeat(",0-0", 15): "bytes=0-0" + strings.Repeat(",0-0", 15), "bytes=0-0" + strings.Repeat(",0-0", 16): "",
		"bytes=-0": "bytes=10-", "bytes=0-1,-0": "bytes=0-1,10-",
		"bytes=0-99999999999999999999": "bytes=0-9223372036854775807", "bytes=-99999999999999999999": "bytes=-9223372036854775807",
	} {
		if got := byteRanges(header, 10); got != want {
			t.Errorf("%q is read as %q, want %q", header, got, want)
		}
	}
}
