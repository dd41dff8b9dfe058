package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/observe"
	"hearth/internal/redisconn"
)

// changes tells the other instances what this one changed, so that they read it anew at once; by themselves they do so within
// a second. So nothing rests on a message: one that is lost costs that second.
//
// Who may do what is never taken from a message: it only makes the others ask the store.
type changes struct {
	app     *App
	conn    *redisconn.Conn
	self    string
	channel string
}

var _ hearth.Publisher = (*changes)(nil)

// change is a message on its way between instances.
type change struct {
	From string `json:"from"`
	// Devices were changed or, if Gone, deleted.
	Devices []changedDevice `json:"devices,omitempty"`
	// User's sessions ended: those of Sessions, or, if it is null, all have other rights now.
	User     string   `json:"user,omitempty"`
	Sessions []string `json:"sessions"`
	// Roles is whose roles changed; Left is the organization that they are no longer in.
	Roles string `json:"roles,omitempty"`
	Left  string `json:"left,omitempty"`
}

type changedDevice struct {
	ID    string       `json:"id"`
	Scope hearth.Scope `json:"scope"`
	Last  time.Time    `json:"last,omitzero"`
	Gone  bool         `json:"gone,omitempty"`
}

func newChanges(a *App) *changes {
	return &changes{app: a, conn: a.redis, self: rand.Text(), channel: "hearth:changes:" + strconv.Itoa(a.redis.Database())}
}

// Publish implements hearth.Publisher: it takes what happened to devices, their signs of life and logs aside.
func (c *changes) Publish(events ...hearth.Event) {
	var devices []changedDevice
	for i := range events {
		event := &events[i]
		if event.Type != hearth.EventDeviceUpdate && event.Type != hearth.EventDeviceDeleted {
			continue
		}
		changed := changedDevice{ID: event.DeviceID, Scope: event.Scope, Gone: event.Type == hearth.EventDeviceDeleted}
		if device, ok := event.Data.(hearth.Device); ok {
			changed.Last = device.LastActiveAt
		}
		devices = append(devices, changed)
	}
	if len(devices) > 0 {
		c.send(change{Devices: devices})
	}
}

// SessionsEnded implements account.SessionObserver.
func (c *changes) SessionsEnded(userID string, sessionIDs []string) {
	c.send(change{User: userID, Sessions: sessionIDs})
}

// MembershipEnded implements orgs.Observer.
func (c *changes) MembershipEnded(userID, orgID string) { c.send(change{Roles: userID, Left: orgID}) }

// rolesChanged is told of people whose roles changed.
func (c *changes) rolesChanged(userID string) { c.send(change{Roles: userID}) }

// send waits until Redis has the message: the answer to whoever made the change comes after it. While Redis is away it costs
// nothing.
func (c *changes) send(message change) {
	message.From = c.self
	text, err := json.Marshal(message)
	if err != nil {
		panic("app: a change always encodes: " + err.Error())
	}
	// An error is Redis's, and was logged where it went away.
	_ = c.conn.Try(context.Background(), func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Publish().Channel(c.channel).Message(string(text)).Build()).Error()
	})
}

// maxHeard bounds the messages that wait to be carried out; one beyond it costs its second.
const maxHeard = 1024

// startHearing listens to the other instances for as long as the program runs.
func (a *App) startHearing(ctx context.Context) {
	if a.changes == nil {
		return
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	waiting := make(chan string, maxHeard)
	running.Go(func() {
		a.redis.Listen(working, redisconn.Listener{Channels: []string{a.changes.channel}, Heard: func(_, message string) {
			select {
			case waiting <- message:
			default:
			}
		}})
	})
	running.Go(func() {
		for {
			select {
			case message := <-waiting:
				a.changes.heard(message)
			case <-working.Done():
				return
			}
		}
	})
	a.steps.add("changes of other instances", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// heard carries out one message.
func (c *changes) heard(text string) {
	var message change
	if err := json.Unmarshal([]byte(text), &message); err != nil {
		c.app.log.Warn("another instance said something that this one does not understand", slog.String("kind", "system"), observe.Err(err))
		return
	}
	if message.From == c.self {
		return
	}
	a := c.app
	for _, device := range message.Devices {
		if device.Gone {
			a.fleet.RemovedElsewhere(device.ID, device.Scope)
		} else {
			a.fleet.ChangedElsewhere(device.ID, device.Scope, device.Last)
		}
	}
	if message.User != "" {
		a.people.Forget(message.User)
		a.realtime.SessionsEnded(message.User, message.Sessions)
	}
	if message.Roles != "" {
		a.orgs.Forget(message.Roles)
		if message.Left != "" {
			a.realtime.MembershipEnded(message.Roles, message.Left)
		}
	}
}

func isConflict(err error) bool    { return hearth.ErrorCode(err) == hearth.CodeConflict }
func isUnavailable(err error) bool { return hearth.ErrorCode(err) == hearth.CodeUnavailable }
