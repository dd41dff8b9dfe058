// Package notify sends users notifications: in the app, live, by e-mail and to channels, as each of them set it.
//
// What happens in other packages arrives as a job in the queue. Its handler stores the notification, with the e-mail as a further job,
// in one atomic step and publishes it. The notification's id follows from the job's, so that a job that runs twice notifies once.
//
// What goes to a channel, and to e-mails with a digest or quiet hours, waits in a digest: a record with the items and the one job that sends
// them. The job takes the items that may be sent now, sends one message and schedules the next. So a channel that does not answer keeps
// one job busy, and what gathers meanwhile is one message.
package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hearth"
	"hearth/internal/guardedhttp"
	"hearth/internal/mail"
	"hearth/internal/queue"
	"hearth/internal/sealed"
)

// EmailKind is the kind of the jobs that send an e-mail: their payload is a mail.Envelope.
const EmailKind = "mail.letter"

// Users knows who is to be notified.
type Users interface {
	// User returns one user; CodeNotFound.
	User(ctx context.Context, id string) (hearth.User, error)
}

// Devices knows the devices.
type Devices interface {
	// DevicesByID returns those that exist, in any order.
	DevicesByID(ctx context.Context, ids []string) ([]hearth.Device, error)
}

// Exports is what this package reads of exports.
type Exports interface {
	// Export returns an export, ExportSchedule a schedule; CodeNotFound.
	Export(ctx context.Context, id string) (hearth.Export, error)
	ExportSchedule(ctx context.Context, id string) (hearth.ExportSchedule, error)
}

// Options are what the service works with. Store, Channels, Client, Users, Devices and Queue are needed.
type Options struct {
	Store    hearth.NotificationStore
	Channels hearth.NotificationChannelStore
	// Client makes the requests to channels, and decides which URLs may be reached.
	Client  *guardedhttp.Client
	Users   Users
	Devices Devices
	// Roles returns a user's organizations; nil: none has any.
	Roles func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	// Exports are what notices of ended exports describe; nil: nothing is known of exports.
	Exports Exports
	// Alarms are what notices of alarms describe; nil: no such notice comes.
	Alarms Alarms
	// Logs are what pictures in e-mails of alarms show; nil: there are none.
	Logs  Logs
	Queue queue.Queue
	// Publisher receives the live events; nil discards them.
	Publisher hearth.Publisher
	Clock     hearth.Clock
	// Logger records failures in the background; nil discards them.
	Logger *slog.Logger
	// PublicURL is what links in e-mails start with, without a slash at the end.
	PublicURL string
	// Sealer encrypts the personal parts of what waits in the queue; nil leaves them as they are.
	Sealer sealed.Sealer
	// EventsOf returns the events that a rule looks at; nil: none.
	EventsOf func(hearth.Rule) []string
	// ChannelSealer encrypts the URLs of channels; nil leaves them as they are.
	ChannelSealer sealed.Sealer
	// Debounce is how long a device's new connection must last before users are notified, at least 1 s; 0 is 30 s. They are notified
	// within twice that.
	Debounce time.Duration
}

func (o Options) validate() (Options, error) {
	if o.Store == nil || o.Channels == nil || o.Client == nil || o.Users == nil || o.Devices == nil || o.Queue == nil {
		return o, errors.New("notify: stores, a client, users, devices and a queue are needed")
	}
	o.Debounce = cmp.Or(o.Debounce, 30*time.Second)
	if o.Debounce < time.Second {
		return o, errors.New("notify: the debounce of connections is at least 1s")
	}
	if o.Publisher == nil {
		o.Publisher = noPublisher{}
	}
	o.Sealer, o.ChannelSealer = sealed.OrPlain(o.Sealer), sealed.OrPlain(o.ChannelSealer)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.EventsOf == nil {
		o.EventsOf = func(hearth.Rule) []string { return nil }
	}
	if o.Roles == nil {
		o.Roles = func(context.Context, string) (map[string]hearth.OrgRole, error) { return nil, nil }
	}
	return o, nil
}

type noPublisher struct{}

func (noPublisher) Publish(...hearth.Event) {}

// Service sends and keeps notifications. Its methods may be called at once from many goroutines.
type Service struct {
	o     Options
	store hearth.NotificationStore
}

// New makes the service.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	return &Service{o: options, store: options.Store}, nil
}

func (s *Service) now() time.Time { return s.o.Clock.Now() }

// Kinds returns the jobs that a worker does for this service.
func (s *Service) Kinds() []queue.Kind {
	kind := func(name string, handler queue.Handler) queue.Kind {
		return queue.Kind{Name: name, Handler: handler, Timeout: time.Minute, MaxAttempts: 10}
	}
	return []queue.Kind{
		kind(SecurityKind, handle(s.security)),
		kind(ExportKind, handle(s.export)),
		kind(DeviceKind, handle(s.device)),
		kind(AlarmKind, handle(s.alarm)),
		kind(WebhookKind, handle(s.webhook)),
		kind(EmailDigestKind, handle(s.sendEmailDigest)),
		{
			Name: ChannelKind, Handler: handle(s.sendToChannel), Timeout: time.Minute, MaxAttempts: channelAttempts,
			Backoff: queue.Backoff{Base: 10 * time.Second, Max: time.Hour},
		},
	}
}

// handle reads a job's payload; one that cannot be read never will be.
func handle[P any](do func(ctx context.Context, job queue.Job, payload P) error) queue.Handler {
	return func(ctx context.Context, task *queue.Task) error {
		var payload P
		if err := json.Unmarshal(task.Job.Payload, &payload); err != nil {
			return queue.Permanent(err)
		}
		return do(ctx, task.Job, payload)
	}
}

// message is something to notify a user of.
type message struct {
	user    hearth.User
	kind    hearth.NotificationType
	title   string
	body    string
	data    map[string]string
	email   mail.Email
	at      time.Time
	told    hearth.Connection // the connection that the user knows afterwards
	mailTo  string            // "" is the user's address
	mailNow bool              // whatever the settings say
	sealed  bool              // the e-mail says where the user was
	url     string            // where it leads to
	// severity is an alarm's; raised says that it begins.
	severity hearth.Severity
	raised   bool
}

// send stores a notification, with what is to be sent by e-mail and to channels as the user set it, and sends it live. cause is the id of
// the job.
func (s *Service) send(ctx context.Context, cause string, n message) error {
	settings, err := s.store.NotificationSettings(ctx, n.user.ID)
	if err != nil {
		return err
	}
	channels, err := s.o.Channels.Channels(ctx, n.user.ID, hearth.Page{Limit: hearth.MaxNotificationChannels})
	if err != nil {
		return err
	}
	ways := settings.Types[n.kind]
	to := hearth.NewNotification{
		Notification: hearth.Notification{
			ID: derive(cause, n.user.ID), UserID: n.user.ID, Type: n.kind, Title: n.title, Body: n.body, Data: n.data, CreatedAt: n.at,
		},
		Told: n.told, Hidden: !ways.InApp,
	}
	// Warnings of an attack and alarms that begin to be critical pass quiet hours.
	item := hearth.DigestItem{
		ID: to.Notification.ID, Type: n.kind, Title: n.title, Body: n.body, Data: n.data, URL: n.url, Severity: n.severity, At: n.at,
		Urgent: n.sealed || n.raised && n.severity == hearth.SeverityCritical,
	}
	if (ways.Email || n.mailNow) && n.email != nil {
		job, err := s.emailJob(derive(cause, "mail:"+n.user.ID), n)
		if err != nil {
			return err
		}
		if n.mailNow || n.sealed || settings.EmailDigest == 0 && settings.Quiet == nil {
			to.SideEffects.Jobs = append(to.SideEffects.Jobs, job)
		} else {
			to.Digests = append(to.Digests, s.toEmail(paceOf(n.user, settings, settings.EmailDigest), n.user.ID, item, job))
		}
	}
	for _, c := range channels.Items {
		if c.Wants(n.kind, n.severity) {
			to.Digests = append(to.Digests, s.toChannel(c, paceOf(n.user, settings, c.DigestMinutes), item))
		}
	}
	if to.Hidden && to.Told == "" && len(to.SideEffects.Jobs) == 0 && len(to.Digests) == 0 {
		return nil
	}
	created, err := s.store.CreateNotification(ctx, to)
	if err == nil && created && !to.Hidden {
		s.o.Publisher.Publish(hearth.Event{Type: hearth.EventNotification, At: n.at, Data: to.Notification, UserID: n.user.ID})
	}
	return err
}

func (s *Service) emailJob(id string, n message) (hearth.OutboxJob, error) {
	address := n.mailTo
	address = cmp.Or(address, n.user.Email)
	payload, err := json.Marshal(mail.Envelope{To: mail.Address{Name: n.user.Name, Email: address}, Email: n.email})
	if err == nil && n.sealed {
		var sealed []byte
		if sealed, err = s.o.Sealer.Seal(payload); err == nil {
			payload, err = json.Marshal(sealedEmail{sealed})
		}
	}
	return hearth.OutboxJob{ID: id, Kind: EmailKind, Queue: string(queue.Notification), Payload: payload}, err
}

// sealedEmail is the payload of a job whose e-mail says where the user was: the sealed JSON of a mail.Envelope.
type sealedEmail struct {
	Sealed []byte `json:"sealed"`
}

// Email reads the payload of a job of EmailKind.
func (s *Service) Email(_ context.Context, payload []byte) (envelope mail.Envelope, err error) {
	var sealed sealedEmail
	if err := json.Unmarshal(payload, &sealed); err != nil {
		return envelope, queue.Permanent(fmt.Errorf("read an e-mail: %w", err))
	}
	if len(sealed.Sealed) > 0 {
		if payload, err = s.o.Sealer.Open(sealed.Sealed); err != nil {
			return envelope, fmt.Errorf("open an e-mail: %w", err)
		}
	}
	if err := json.Unmarshal(payload, &envelope); err != nil {
		return envelope, queue.Permanent(errors.New("an e-mail is damaged")) // what the decoder says would repeat it
	}
	return envelope, nil
}

// origin opens where the cause of a notice came from; whatever became of the key, the notice goes out.
func (s *Service) origin(ctx context.Context, notice hearth.SecurityNotice) (from hearth.NoticeOrigin) {
	if len(notice.Origin) == 0 {
		return from
	}
	plain, err := s.o.Sealer.Open(notice.Origin)
	if err == nil && json.Unmarshal(plain, &from) != nil {
		err = errors.New("it is damaged")
	}
	if err != nil {
		s.o.Logger.WarnContext(ctx, "a notice goes out without its origin", "user", notice.UserID, "err", err)
		return hearth.NoticeOrigin{}
	}
	return from
}

// derive makes an id of a job's id and a purpose: of the job's time, always the same.
func derive(jobID, purpose string) string {
	return queue.DeriveID(queue.IDTime(jobID), jobID+"\x00"+purpose)
}

// user returns the user to notify; ok is false for one that is deleted or disabled.
func (s *Service) user(ctx context.Context, id string) (user hearth.User, ok bool, err error) {
	user, err = s.o.Users.User(ctx, id)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return user, false, nil
	}
	return user, err == nil && !user.Disabled, err
}
