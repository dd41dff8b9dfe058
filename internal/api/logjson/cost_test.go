package logjson

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"hearth"
)

// batchOf returns a batch of about n bytes of the same log.
func batchOf(n int, log string) []byte {
	logs := min(n/(len(log)+1), 10_000)
	return []byte("[" + strings.TrimSuffix(strings.Repeat(log+",", logs), ",") + "]")
}

// BenchmarkCostlyBatches reads valid batches of 16 MiB that are made to cost much.
func BenchmarkCostlyBatches(b *testing.B) {
	const size = 16 << 20
	each := size / 10_000
	id := `"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	escaped := `"` + strings.Repeat(`\u0041`, 256) + `"`
	pairs := `"` + strings.Repeat(`\ud83d\ude00`, 130) + `"`
	fill := func(unit string) string { return strings.Repeat(unit, (each-80)/len(unit)) }
	for name, body := range map[string][]byte{
		"escapes":      batchOf(size, `{"device_id":`+id+`,"event":"e","value":`+escaped+`}`),
		"pairs":        batchOf(size, `{"device_id":`+id+`,"event":"e","value":`+pairs+`}`),
		"spaces":       batchOf(size, `{"device_id":`+id+fill(" ")+`,"event":"e","value":1}`),
		"tabs":         batchOf(size, `{"device_id":`+id+fill("\t")+`,"event":"e","value":1}`),
		"lines":        batchOf(size, `{"device_id":`+id+fill("\n \t\r")+`,"event":"e","value":1}`),
		"outer spaces": batchOf(size, fill(" ")+`{"device_id":`+id+`,"event":"e","value":1}`),
		"outer lines":  batchOf(size, fill("\n \t\r")+`{"device_id":`+id+`,"event":"e","value":1}`),
		"digits":       batchOf(size, `{"device_id":`+id+`,"event":"e","value":0.`+fill("1")+`}`),
		"long events":  batchOf(size, `{"device_id":`+id+`,"event":"`+strings.Repeat("e", 700)+`","value":1}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var decoder Decoder
			for b.Loop() {
				batch, err := decoder.Decode(bytes.NewReader(body), Options{Now: now})
				if err != nil {
					b.Fatal(err)
				}
				batch.Release()
			}
		})
	}
}

// small returns no more than most bytes at once.
type small struct {
	io.Reader
	most int
}

func (s small) Read(to []byte) (int, error) { return s.Reader.Read(to[:min(len(to), s.most)]) }

// A client chooses in how small parts its body comes: none of them has what came before read again.
func TestABodyThatComesInSmallPartsIsReadOnce(t *testing.T) {
	t.Parallel()
	item := `"` + strings.Repeat("x", 60_000) + `"`
	for _, most := range []int{1, 100, 4096} {
		d := &decoder{buf: make([]byte, window)}
		d.reset(small{strings.NewReader(item), most}, Options{})
		read := 0
		err := d.whole(func(b []byte) (int, error) {
			read += len(b)
			return d.skip(b, 0, 0)
		})
		if err != nil || read > 3*len(item) {
			t.Errorf("in parts of %d bytes: %d bytes are read for %d: %v", most, read, len(item), err)
		}
	}
}

// What can be no log whatever follows is a fault at once: its long texts are not kept, and 20 of them end the reading.
func TestLongTextsAreRefusedAsTheyAreRead(t *testing.T) {
	t.Parallel()
	for field, log := range map[string]string{
		"event":     `{"device_id":"a","event":"` + strings.Repeat("e", 700) + `","value":1}`,
		"device_id": `{"device_id":"` + strings.Repeat("a", 700) + `","event":"e","value":1}`,
		"value":     `{"device_id":"a","event":"e","value":0.` + strings.Repeat("3", maxNumber) + `}`,
	} {
		body := bytes.NewReader(batchOf(1<<20, log))
		batch, err := new(Decoder).Decode(body, Options{Now: now})
		if err != nil {
			t.Errorf("%s: %v", field, err)
			continue
		}
		if len(batch.Faults) != hearth.MaxWrongLogs || batch.Faults[0].Location != field || body.Len() < 900_000 {
			t.Errorf("%s: %d bytes are not read, faults %v", field, body.Len(), batch.Faults)
		}
	}
}
