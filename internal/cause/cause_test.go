package cause_test

import (
	"encoding/json"
	"testing"

	"hearth/internal/cause"

	"hearth"
)

func TestAJobIsMarkedWithItsCause(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for payload, want := range map[string]string{`{}`: trace, `{ }`: trace, `{"a":1}`: trace, `{"a":"_cause"}`: trace, `[1]`: "", `null`: "", ``: ""} {
		job := hearth.OutboxJob{ID: "1", Payload: []byte(payload)}
		if same := cause.Mark(t.Context(), job); string(same.Payload) != payload {
			t.Errorf("without a cause %s became %s", payload, same.Payload)
		}
		marked := cause.Mark(cause.With(t.Context(), trace), job)
		if got := cause.Of(marked.Payload); got != want {
			t.Errorf("the cause of %s is %q, want %q", marked.Payload, got, want)
		}
		if payload != "" && !json.Valid(marked.Payload) || string(job.Payload) != payload {
			t.Errorf("%s became %s, from %s", payload, marked.Payload, job.Payload)
		}
	}
	if got := cause.Of([]byte(`{"a":"_cause"}`)) + cause.Of([]byte(`_cause`)); got != "" {
		t.Errorf("an unmarked payload has the cause %q", got)
	}
}
