//go:build clients

package e2e

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth/internal/testserver"
)

// The pictures of the README and the guide are of the demo, as it is today: make console-pictures.
func TestThePicturesOfTheConsole(t *testing.T) {
	dir := os.Getenv("CONSOLE_PICTURES")
	if dir == "" {
		t.Skip("CONSOLE_PICTURES names the folder to write them to")
	}
	addr := testserver.FreeAddr(t)
	s := &server{t: t, addr: addr, url: "http://" + addr, dir: t.TempDir(), command: []string{"demo"}}
	s.start()
	t.Cleanup(s.stop)
	found := regexp.MustCompile(`e-mail: +(\S+)\npassword: +(\S+)`).FindStringSubmatch(s.log.String())
	if found == nil {
		t.Fatalf("the demo prints no login: %s", s.log)
	}
	owner, _ := s.login(found[1], found[2])
	var list struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	owner.do("GET", "/devices?q=kitchen-multisensor", nil, 200).Into(t, &list)
	device := s.url + "/devices/" + list.Items[0].ID
	for scheme, option := range map[string]chromedp.ExecAllocatorOption{
		"light": chromedp.Flag("blink-settings", "preferredColorScheme=1"),
		"dark":  chromedp.Flag("blink-settings", "preferredColorScheme=0"),
	} {
		b := newTab(t, option)
		b.signIn(s.url, found[1], found[2])
		b.reads("Busiest devices")
		picture := func(name, address, text string, width, height int64) {
			b.do(chromedp.EmulateViewport(width, height))
			b.open(address)
			b.reads(text)
			b.do(chromedp.Sleep(4 * time.Second)) // live readings arrive, and the chart is drawn
			shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+".png"), inFewColours(t, shot), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if scheme == "light" {
			picture("phone", device, "temperature", 390, 780)
			b.open(s.url)
			within(t, 2*time.Minute, "the import is no longer among the logs per second", func() string {
				return b.run(`document.querySelectorAll('.figure b')[1]?.innerText.length < 4 ? '' : document.body.innerText`)
			})
			picture("overview", s.url, "Busiest devices", 1280, 800)
			continue
		}
		picture("charts", device+"/charts?range=7d&events=brightness", "Averages by the hour", 1280, 800)
	}
}

// inFewColours returns a picture in PNG with the 256 colours that most of its pixels have, and for every other colour the nearest of these: a third of
// the bytes.
func inFewColours(t *testing.T, data []byte) []byte {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	bounds := from.Bounds()
	uses := map[color.Color]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			uses[from.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(uses), func(a, b color.Color) int { return uses[b] - uses[a] })
	to := image.NewPaletted(bounds, colours[:min(len(colours), 256)])
	draw.Draw(to, bounds, from, bounds.Min, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
