package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	hearth "hearth/client/go"
)

// clientsServer is a server with an account, whose access tokens live for so few seconds that clients renew them again and again.
func clientsServer(t *testing.T) *clientServer {
	t.Helper()
	s := &clientServer{server: serve(t, "HEARTH_ACCESS_TTL=10s")}
	ann, _ := s.signup("ann@example.com")
	var key struct {
		Key string `json:"key"`
	}
	ann.do("POST", "/users/me/api-keys", map[string]any{
		"name": "guide", "scopes": []string{"devices:read", "devices:write", "telemetry:read", "telemetry:write"},
	}, 201).Into(t, &key)
	s.token = key.Key
	return s
}

type clientServer struct {
	*server
	// token is an API key.
	token string
}

// guideBlock returns the first example of a language in the guide, which is a whole program.
func guideBlock(t *testing.T, language string) string {
	t.Helper()
	guide, err := os.ReadFile("../docs/guides/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(guide), "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("the guide has no example of %s", language)
	}
	return block
}

// write makes a file of a test and returns its path.
func write(t *testing.T, folder, name, text string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runClient runs a program of a client against the server and returns what it prints.
func (s *clientServer) runClient(folder string, command ...string) string {
	s.t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		if os.Getenv("CI") != "" {
			s.t.Fatalf("this machine has no %s", command[0])
		}
		s.t.Skipf("this machine has no %s", command[0])
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = filepath.Join("..", "client", folder)
	cmd.Env = append(os.Environ(), "HEARTH_URL="+s.url, "HEARTH_EMAIL=ann@example.com", "HEARTH_PASSWORD="+password, "HEARTH_TOKEN="+s.token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Errorf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

const (
	kitchenSays = "10 values, 20.4 on average\n"
	guideSays   = "temperature 21.5\n"
)

func TestThePythonClient(t *testing.T) {
	t.Parallel()
	s := clientsServer(t)
	out := s.runClient("python", "python3", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
	if strings.Contains(out, "skipped") {
		t.Errorf("tests were skipped:\n%s", out)
	}
	if out := s.runClient("python", "env", "PYTHONPATH=.", "python3", "examples/kitchen.py"); out != kitchenSays {
		t.Errorf("the example prints %q", out)
	}
	example := write(t, t.TempDir(), "guide.py", guideBlock(t, "python"))
	if out := s.runClient("python", "env", "PYTHONPATH=.", "python3", example); out != guideSays {
		t.Errorf("the guide's example prints %q", out)
	}
}

func TestTheGoClient(t *testing.T) {
	t.Parallel()
	s := clientsServer(t)
	c, err := hearth.New(s.url, hearth.WithPassword("ann@example.com", password))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a device from its creation to its end", func(t *testing.T) { goDevice(t, c) })
	t.Run("logs are written and counted", func(t *testing.T) { goLogs(t, s, c) })
	t.Run("events are followed and continued", func(t *testing.T) { goEvents(t, c) })
	t.Run("a module that imports it", func(t *testing.T) { goModule(t, s) })
	if out := s.runClient("go", "go", "run", "./examples/kitchen"); out != kitchenSays {
		t.Errorf("the example prints %q", out)
	}
}

func goDevice(t *testing.T, c *hearth.Client) {
	t.Helper()
	ctx := t.Context()
	device, err := c.CreateDevice(ctx, hearth.NewDevice{Name: "Go hall", Type: "thermostat", Tags: []string{"go"}, HeartbeatInterval: hearth.Ptr(30)})
	if err != nil || device.Connection != hearth.DeviceConnectionNever || device.OrganizationID != nil || device.HeartbeatInterval != 30 {
		t.Fatalf("%+v, %v", device, err)
	}
	cellar := hearth.NewDevice{Name: "Go cellar", Type: "thermostat", Tags: []string{"go"}}
	first, err := c.CreateDevice(ctx, cellar, hearth.WithIdempotencyKey("go-cellar"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.CreateDevice(ctx, cellar, hearth.WithIdempotencyKey("go-cellar")); err != nil || again.ID != first.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	var names []string
	for device, err := range c.AllDevices(ctx, hearth.ListDevicesParams{Tag: "go", Sort: "name", Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, device.Name)
	}
	if !slices.Equal(names, []string{"Go cellar", "Go hall"}) {
		t.Errorf("listed %q", names)
	}
	tag := fmt.Sprintf(`"%d"`, device.Version)
	if changed, err := c.UpdateDevice(ctx, device.ID, hearth.DeviceChange{Name: hearth.Set("Go attic")}, hearth.IfMatch(tag)); err != nil || changed.Name != "Go attic" {
		t.Errorf("changed: %+v, %v", changed, err)
	}
	_, err = c.UpdateDevice(ctx, device.ID, hearth.DeviceChange{Name: hearth.Set("late")}, hearth.IfMatch(tag))
	if hearth.CodeOf(err) != hearth.ErrorCodeVersionMismatch {
		t.Errorf("a late change: %v", err)
	}
	var refused *hearth.Error
	if _, err := c.CreateDevice(ctx, hearth.NewDevice{Type: "x"}); !errors.As(err, &refused) || refused.RequestID == "" ||
		len(refused.Fields) == 0 || refused.Fields[0].Location != "body.name" {
		t.Errorf("without a name: %v", err)
	}
	if err := c.DeleteDevice(ctx, device.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.GetDevice(ctx, device.ID); hearth.CodeOf(err) != hearth.ErrorCodeNotFound {
		t.Errorf("after the deletion: %v", err)
	}
}

func goLogs(t *testing.T, s *clientServer, c *hearth.Client) {
	t.Helper()
	ctx := t.Context()
	device, err := c.CreateDevice(ctx, hearth.NewDevice{Name: "Go meter", Type: "meter"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.CreateDeviceToken(ctx, device.ID, hearth.DeviceTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	meter, err := hearth.New(s.url, hearth.WithToken(token.Token))
	if err != nil {
		t.Fatal(err)
	}
	var refused []hearth.NewDeviceLog
	writer := meter.NewWriter(hearth.WriterOptions{Size: 100, Refused: func(log hearth.NewDeviceLog, _ error) { refused = append(refused, log) }})
	start := time.Now().Add(-10 * time.Minute)
	for i := range 250 {
		value := any(i)
		if i == 120 {
			value = ""
		}
		if err := writer.Write(ctx, hearth.NewDeviceLog{Event: "power", Value: value, Timestamp: start.Add(time.Duration(i) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(ctx); hearth.CodeOf(err) != hearth.ErrorCodeValidationFailed || len(refused) != 1 || refused[0].Value != "" {
		t.Errorf("close: %v; refused %+v", err, refused)
	}
	usage, err := c.DeviceUsage(ctx, device.ID, hearth.DeviceUsageParams{Range: "1h", Event: "power", Interval: hearth.IntervalHour})
	if err != nil || usage.Summary.Count != 249 || usage.Summary.Max == nil || *usage.Summary.Max != 249 {
		t.Errorf("usage %+v, %v", usage, err)
	}
}

func goEvents(t *testing.T, c *hearth.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	device, err := c.CreateDevice(ctx, hearth.NewDevice{Name: "Go lamp", Type: "lamp"})
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	lastID := ""
	next := func(opened func()) (value hearth.Value) {
		err := c.Follow(ctx, hearth.FollowOptions{Channels: []string{"device:" + device.ID}, LastID: lastID, Opened: opened}, func(e hearth.LiveEvent) error {
			data, err := e.Value()
			if log, ok := data.(hearth.LiveLog); ok {
				value, lastID = log.Value, e.ID
				return enough
			}
			return err
		})
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		return value
	}
	say := func(value bool) {
		if _, err := c.CreateLog(ctx, device.ID, hearth.NewLog{Event: "switch", Value: value}); err != nil {
			t.Error(err)
		}
	}
	if got := next(sync.OnceFunc(func() { go say(true) })); got != true {
		t.Errorf("the first event is of %v", got)
	}
	say(false) // while no one listens
	if got := next(nil); got != false {
		t.Errorf("after coming back: %v", got)
	}
}

// goModule runs the guide's example as a module of its own, which has nothing of this one but the client.
func goModule(t *testing.T, s *clientServer) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write(t, folder, "go.mod", "module example.com/kitchen\n\ngo 1.24\n\nrequire hearth/client/go v0.0.0\n\nreplace hearth/client/go => "+
		filepath.Join(root, "client", "go")+"\n")
	write(t, folder, "main.go", guideBlock(t, "go"))
	if out := s.runClient("go", "go", "run", "-C", folder, "."); out != guideSays {
		t.Errorf("it prints %q", out)
	}
}
