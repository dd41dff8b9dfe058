package hearth

import (
	"bytes"
	"context"
	"encoding/json"
)

type causeKey struct{}

// WithCause returns a context whose writes mark the jobs that they leave behind with what caused them: a W3C traceparent, so that the
// trace of a job finds that of the request.
func WithCause(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, causeKey{}, traceparent)
}

// causeField is the member of a payload that holds the cause; a reader of the payload passes over it.
const causeField = "_cause"

// CausedBy returns the job marked with the cause that ctx carries; without one, as it is. A store calls it on every job of a write.
func (j OutboxJob) CausedBy(ctx context.Context) OutboxJob {
	cause, _ := ctx.Value(causeKey{}).(string)
	rest, isObject := bytes.CutPrefix(j.Payload, []byte("{"))
	if cause == "" || !isObject {
		return j
	}
	mark, err := json.Marshal(map[string]string{causeField: cause})
	if err != nil {
		return j
	}
	marked := mark[:len(mark)-1] // without its closing brace
	if !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		marked = append(marked, ',')
	}
	j.Payload = append(marked, rest...)
	return j
}

// CauseOf returns the cause that a job's payload is marked with, or "".
func CauseOf(payload []byte) string {
	if !bytes.Contains(payload, []byte(causeField)) {
		return ""
	}
	var marked struct {
		Cause string `json:"_cause"`
	}
	if json.Unmarshal(payload, &marked) != nil {
		return ""
	}
	return marked.Cause
}
