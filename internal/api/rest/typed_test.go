package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth/internal/api/resttest"
)

// everyKind has a field of every kind that a body may have.
type everyKind struct {
	Text   string             `json:"text"`
	On     bool               `json:"on,omitempty"`
	Small  int8               `json:"small,omitempty"`
	Large  int64              `json:"large,omitempty"`
	Single float32            `json:"single,omitempty"`
	Ratio  float64            `json:"ratio,omitempty"`
	Texts  []string           `json:"texts,omitempty"`
	Lists  [][]int            `json:"lists,omitempty"`
	Items  []shapeItem        `json:"items,omitempty"`
	Item   *shapeItem         `json:"item,omitempty"`
	Count  *int               `json:"count,omitempty"`
	Ratios map[string]float64 `json:"ratios,omitempty"`
	At     *Time              `json:"at,omitempty"` // package json cannot read it
	Open   json.RawMessage    `json:"open,omitempty"`
	Hidden string             `json:"-"`
	shapeItem
	Embedded
}

// Embedded has fields of the struct that embeds it.
type Embedded struct {
	Inner string `json:"inner,omitempty"`
}

func TestBodiesAreSetAsPackageJSONSetsThem(t *testing.T) {
	t.Parallel()
	a := newBoundedAPI(t)
	var got everyKind
	Register(a, Operation{ID: "kinds", Method: "POST", Path: "/kinds", Tag: "Things", Access: ForUsers, Key: ClosedToKeys},
		func(_ context.Context, in *struct{ Body everyKind }) (*struct{}, error) {
			got = in.Body
			return nil, nil
		})
	for _, body := range []string{
		`{"text":""}`,
		`{"text":"a\u0041\ud83d\ude00\"\\é","inner":"x","on":true}`,
		`{"text":"x","on":null,"small":null,"texts":null,"item":null,"count":null,"ratios":null,"inner":null}`,
		`{"text":"x","small":-128,"large":9007199254740993,"ratio":9007199254740993,"single":1.5}`,
		`{"text":"x","large":-9223372036854775808,"ratio":-0,"single":-0.0}`,
		`{"text":"x","large":9223372036854775807,"ratio":1E5,"single":16777217}`,
		`{"text":"x","ratio":1.7976931348623157e308,"ratios":{"a":1,"b":-2.5,"":1e-400}}`,
		`{"text":"x","texts":[],"lists":[],"items":[],"ratios":{},"open":{}}`,
		`{"text":"x","texts":["","a"],"lists":[[],[1,2],[3]],"items":[{"name":"a"},{"name":"b"}],"item":{"name":"c"},"count":3}`,
		`{ "text" : "x"  , "open" : [ 1 , {"a" : null} ] }`,
		`{"text":"x","open":"text"}`, `{"open":-1.50,"text":"x"}`, `{"text":"x","open": true }`, "{\"text\":\"x\",\"open\":\n{\"b\":1,\"a\":2}\t}",
	} {
		got = everyKind{}
		w := resttest.Call{Method: "POST", Path: "/api/v1/kinds", Token: "ann", Body: body}.Do(t, a)
		var want everyKind
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if w.Code != 204 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d %s\n%+v, want\n%+v", body, w.Code, w.Body, got, want)
		}
	}
	at := Time(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	for text, want := range map[string]*Time{"null": nil, `"2026-03-01T13:00:00.0001+01:00"`: &at} {
		w := resttest.Call{Method: "POST", Path: "/api/v1/kinds", Token: "ann", Body: `{"text":"x","at":` + text + `}`}.Do(t, a)
		if w.Code != 204 || !reflect.DeepEqual(got.At, want) {
			t.Errorf("%s: %d %s, read as %v", text, w.Code, w.Body, got.At)
		}
	}
	for body, place := range map[string]string{
		`{"text":"x","small":128}`: "body.small", `{"text":"x","large":9223372036854775808}`: "body.large", `{"text":"x","lists":[[1],[2,1e3]]}`: "body.lists[1][1]",
		`{"text":"x","single":1e39}`: "body.single", `{"text":"x","at":"2026-02-30T25:00:00Z"}`: "body.at", `{"text":"x","ratios":{"a":true}}`: "body.ratios.a",
		`{"text":"x","item":{"name":1}}`: "body.item.name", `{"text":"x","Hidden":"y"}`: "body.Hidden", `{"text":"x","name":"y"}`: "body.name",
	} {
		w := resttest.Call{Method: "POST", Path: "/api/v1/kinds", Token: "ann", Body: body}.Do(t, a)
		if problem := resttest.ProblemIn(t, w); w.Code != 422 || len(problem.Errors) != 1 || problem.Errors[0].Location != place {
			t.Errorf("%s: %d %s, want %s named", body, w.Code, w.Body, place)
		}
	}
}

// selfRead reads itself from JSON: it would not be set.
type selfRead struct{}

func (*selfRead) UnmarshalJSON([]byte) error { return nil }

func TestTypesThatWouldNotBeSetAreRefused(t *testing.T) {
	t.Parallel()
	for _, of := range []reflect.Type{
		typeOf[selfRead](), typeOf[[]selfRead](), typeOf[struct{ A selfRead }](), typeOf[any](), typeOf[map[string]any](), typeOf[map[int]string](), typeOf[uint](),
	} {
		func() {
			defer func() { _ = recover() }()
			bodyTypes{}.add(of)
			t.Errorf("%v may be a body", of)
		}()
	}
}

// The fingerprints of earlier versions were made of what json.Compact writes.
func TestFingerprintsAreOfCompactJSON(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", `{}`, " { \"a b\" : \"c\\\" \\\\\" , \"d\" :\t[ 1 ,\r\n 2 ] } ", `"\\"`, `["\\\"  ",  " \u2028` + "\u2028" + `<>&"]`,
		"[ " + strings.Repeat(`"a \\ b" , `, 4000) + "1 ]", strings.Repeat(" ", 5000) + `"` + strings.Repeat(`\" `, 5000) + `"`,
	} {
		var want bytes.Buffer
		if err := json.Compact(&want, []byte(body)); err != nil && body != "" {
			t.Fatal(err)
		}
		got := sha256.New()
		writeCompact(got, []byte(body))
		if sum := sha256.Sum256(want.Bytes()); !bytes.Equal(got.Sum(nil), sum[:]) {
			t.Errorf("%.50s has another fingerprint", body)
		}
	}
}
