package hearth_test

import (
	"encoding/json"
	"testing"

	"hearth"
)

func TestAJobIsMarkedWithItsCause(t *testing.T) {
	t.Parallel()
	const cause = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for payload, want := range map[string]string{`{}`: cause, `{ }`: cause, `{"a":1}`: cause, `{"a":"_cause"}`: cause, `[1]`: "", `null`: "", ``: ""} {
		job := hearth.OutboxJob{ID: "1", Payload: []byte(payload)}
		if same := job.CausedBy(t.Context()); string(same.Payload) != payload {
			t.Errorf("without a cause %s became %s", payload, same.Payload)
		}
		marked := job.CausedBy(hearth.WithCause(t.Context(), cause))
		if got := hearth.CauseOf(marked.Payload); got != want {
			t.Errorf("the cause of %s is %q, want %q", marked.Payload, got, want)
		}
		if payload != "" && !json.Valid(marked.Payload) || string(job.Payload) != payload {
			t.Errorf("%s became %s, from %s", payload, marked.Payload, job.Payload)
		}
	}
	if got := hearth.CauseOf([]byte(`{"a":"_cause"}`)) + hearth.CauseOf([]byte(`_cause`)); got != "" {
		t.Errorf("an unmarked payload has the cause %q", got)
	}
}
