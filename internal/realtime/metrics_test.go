package realtime

import (
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// figure returns the value of a metric whose labels hold those given; a histogram's is its number of observations.
func (w *fixture) figure(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := w.node.options.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			if family.GetName() == name && hasLabels(metric, labels) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("there is no %s%v", name, labels)
	return 0
}

func hasLabels(metric *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, pair := range metric.Label {
			found = found || pair.GetName() == labels[i] && pair.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

func TestWhatHappensToConnectionsIsCounted(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.History.Size = 5 })
	ann, token := w.user(0)
	stream, socket := w.open(t, token, "", ""), w.dial(t, nil)
	stream.head(t)
	socket.connect(t, token)
	first := stream.lastID
	const events = sampleEvery // one of them is timed, whichever connection gets it
	for i := range events {
		w.node.Publish(note(ann.UserID, i))
		stream.expect(t, i)
		socket.read(t)
	}
	back := w.open(t, token, "", stream.lastID)
	back.head(t)
	lost := w.open(t, token, "", first)
	if event, _ := lost.next(t); event.Type != "reset" {
		t.Fatalf("first came %+v, want a reset", event)
	}
	eventually(t, "all are counted", func() bool { return w.figure(t, "hearth_realtime_published_total") == events })
	for _, want := range []struct {
		name   string
		labels []string
		value  float64
	}{
		{"hearth_realtime_connections", []string{"transport", "sse"}, 3},
		{"hearth_realtime_connections", []string{"transport", "websocket"}, 1},
		{"hearth_realtime_messages_in_total", nil, 1},
		{"hearth_realtime_messages_out_total", []string{"transport", "sse"}, events},
		{"hearth_realtime_messages_out_total", []string{"transport", "websocket"}, events},
		{"hearth_realtime_queue_depth", nil, 0},
		{"hearth_realtime_dropped_total", nil, 0},
		{"hearth_realtime_replays_total", []string{"transport", "sse", "result", "hit"}, 1},
		{"hearth_realtime_replays_total", []string{"transport", "sse", "result", "reset"}, 1},
		{"hearth_realtime_publish_seconds", nil, events},
		{"hearth_realtime_delivery_seconds", nil, 2 * events / sampleEvery},
		{"hearth_realtime_disconnects_total", []string{"transport", "websocket", "code", "3500"}, 0},
	} {
		if got := w.figure(t, want.name, want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	w.node.UserEnded(ann.UserID)
	if code := socket.closeCode(t); code != 3500 {
		t.Errorf("the socket closes with %d, want 3500", code)
	}
	eventually(t, "the ends are counted", func() bool {
		return w.figure(t, "hearth_realtime_disconnects_total", "transport", "websocket", "code", "3500") == 1 &&
			w.figure(t, "hearth_realtime_disconnects_total", "transport", "sse", "code", "3500") == 3
	})
}
