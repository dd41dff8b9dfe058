package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// lastBits is how far apart, in relation to their size, two sums of the same values may be that were added up in another order.
const lastBits = 1e-12

// compareAnswers starts a server on a restored data directory and asks both every analytic question.
func compareAnswers(ctx context.Context, o options, h *hearth, restored string, r *report) (err error) {
	// Keys are not in an archive.
	for _, name := range []string{"keys.json", "field-keys.json", "idempotency.key", "invitations.key"} {
		data, err := os.ReadFile(filepath.Join(h.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(restored, name), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	process, err := startHearth(ctx, o, addr, restored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.stop()) }()
	second := &hearth{process: process, dir: restored, token: h.token}
	questions, err := h.questions()
	if err != nil {
		return err
	}
	same, near := 0, 0
	for _, question := range questions {
		want, err := h.answer(question)
		if err != nil {
			return err
		}
		got, err := second.answer(question)
		if err != nil {
			return err
		}
		switch {
		case bytes.Equal(want, got):
			same++
		case alike(want, got):
			near++
		default:
			return fmt.Errorf("%s: the restored instance answers otherwise:\n%.400s\n%.400s", question, want, got)
		}
	}
	r.add(figure{Name: "answers of the restored instance", Unit: "the same", Hearth: float64(same + near), Floor: float64(len(questions)), Goal: "1",
		Note: fmt.Sprintf("%d to the byte, %d but for the last bits of a sum", same, near)})
	return nil
}

// questions are all that the analytics answer, over ranges that do not move.
func (h *hearth) questions() ([]string, error) {
	var devices struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if err := h.call("GET", "/devices?sort=name&limit=8", nil, &devices); err != nil {
		return nil, err
	}
	to := time.Now().UTC().Truncate(time.Hour).Add(time.Hour)
	span := func(from, to time.Time) string {
		return "from=" + from.Format(time.RFC3339) + "&to=" + to.Format(time.RFC3339)
	}
	whole := span(to.Add(-history-24*time.Hour), to)
	ids := ""
	all := []string{"/devices?sort=name&limit=200&include=total"}
	for i, device := range devices.Items {
		if i > 0 {
			ids += ","
		}
		ids += device.ID
		all = append(all, "/devices/"+device.ID+"/usage?interval=hour&"+span(to.Add(-7*24*time.Hour), to), "/devices/"+device.ID+"/logs?limit=200&"+whole)
	}
	// The second range cuts hours and days.
	for _, s := range []string{whole, span(to.Add(-25*24*time.Hour+13*time.Minute), to.Add(-5*time.Hour-41*time.Minute))} {
		all = append(all, "/analytics/dashboard?"+s, "/analytics/events?"+s, "/analytics/comparison?device_ids="+ids+"&"+s)
		for _, interval := range []string{"hour", "day"} {
			all = append(all, "/analytics/trends?interval="+interval+"&"+s, "/analytics/trends?event=temperature&interval="+interval+"&"+s)
		}
	}
	return all, nil
}

// answer gives the body of a 200.
func (h *hearth) answer(path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, h.url+"/api/v1"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %.300s", path, resp.StatusCode, body)
	}
	return body, err
}

// storedRows gives how many logs there are.
func (h *hearth) storedRows() (int64, error) {
	var found struct {
		Summary struct {
			Logs int64 `json:"total_logs"`
		} `json:"summary"`
	}
	err := h.call("GET", "/analytics/dashboard?range=30d", nil, &found)
	return found.Summary.Logs, err
}

// alike tells whether two documents differ in nothing but the last bits of numbers.
func alike(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && alikeValues(x, y)
}

func alikeValues(a, b any) bool {
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		return ok && math.Abs(x-y) <= lastBits*max(math.Abs(x), math.Abs(y))
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !alikeValues(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name := range x {
			if other, ok := y[name]; !ok || !alikeValues(x[name], other) {
				return false
			}
		}
		return true
	}
	return a == b
}
