// Package cause marks the jobs of a write with the trace of the request that made it.
package cause

import (
	"bytes"
	"context"
	"encoding/json"

	"hearth"
)

type key struct{}

// With returns a context whose writes mark the jobs that they leave behind with what caused them: a W3C traceparent, so that the
// trace of a job finds that of the request.
func With(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, key{}, traceparent)
}

// field is the member of a payload that holds the cause; a reader of the payload passes over it.
const field = "_cause"

// Mark returns the job marked with the cause that ctx carries; without one, as it is. A store calls it on every job of a write.
func Mark(ctx context.Context, j hearth.OutboxJob) hearth.OutboxJob {
	traceparent, _ := ctx.Value(key{}).(string)
	rest, isObject := bytes.CutPrefix(j.Payload, []byte("{"))
	if traceparent == "" || !isObject {
		return j
	}
	mark, err := json.Marshal(map[string]string{field: traceparent})
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

// Of returns the cause that a job's payload is marked with, or "".
func Of(payload []byte) string {
	if !bytes.Contains(payload, []byte(field)) {
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
