package mail

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// Writer makes messages of e-mails. Make it with NewWriter; safe for concurrent use.
type Writer struct{ publicURL string }

// NewWriter returns a writer whose e-mails name publicURL, the address of this installation, in their footer.
func NewWriter(publicURL string) (*Writer, error) {
	if err := checkURL(publicURL); err != nil {
		return nil, fmt.Errorf("the public URL: %w", err)
	}
	return &Writer{publicURL: publicURL}, nil
}

// Envelope is an e-mail with its address, as JSON in the queue.
type Envelope struct {
	To    Address
	Email Email
}

// Message writes the e-mail; id is the message's.
func (w *Writer) Message(id string, e Envelope) (Message, error) {
	p := e.Email.page()
	if err := checkURL(p.URL); err != nil {
		return Message{}, &Rejected{Cause: fmt.Errorf("the e-mail's link: %w", err)}
	}
	// Names that users chose stay on one line.
	p.Subject, p.Title = Line(p.Subject), Line(p.Title)
	for i, f := range p.Facts {
		p.Facts[i].Value = Line(f.Value)
	}
	name := Name(e.To.Name)
	m := Message{ID: id, To: e.To, Subject: p.Subject, Text: p.text(name, w.publicURL), HTML: p.html(name, w.publicURL)}
	if len(p.Charts) > 0 {
		var err error
		if m.Picture, err = picture(p.Charts); err != nil {
			return Message{}, &Rejected{Cause: fmt.Errorf("the e-mail's picture: %w", err)}
		}
	}
	return m, nil
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsFunc(raw, unicode.IsSpace) {
		return errors.New("it must be an http:// or https:// URL")
	}
	return nil
}

// wire is an Envelope's JSON.
type wire struct {
	To    Address         `json:"to"`
	Kind  string          `json:"kind"`
	Email json.RawMessage `json:"letter"` // the name that queues hold
}

// MarshalJSON implements json.Marshaler.
func (e Envelope) MarshalJSON() ([]byte, error) {
	if e.Email == nil {
		return nil, errors.New("an envelope without an e-mail")
	}
	email, err := json.Marshal(e.Email)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire{To: e.To, Kind: e.Email.Kind(), Email: email})
}

// UnmarshalJSON implements json.Unmarshaler. An unknown kind is an error.
func (e *Envelope) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	email, err := read(w)
	if err != nil {
		return err
	}
	*e = Envelope{To: w.To, Email: email}
	return nil
}

func read(w wire) (Email, error) {
	switch w.Kind {
	case PasswordReset{}.Kind():
		return decode[PasswordReset](w.Email)
	case EmailConfirmation{}.Kind():
		return decode[EmailConfirmation](w.Email)
	case Invitation{}.Kind():
		return decode[Invitation](w.Email)
	case NewSignIn{}.Kind():
		return decode[NewSignIn](w.Email)
	case RefreshReused{}.Kind():
		return decode[RefreshReused](w.Email)
	case PasswordChanged{}.Kind():
		return decode[PasswordChanged](w.Email)
	case EmailChanged{}.Kind():
		return decode[EmailChanged](w.Email)
	case AccountLocked{}.Kind():
		return decode[AccountLocked](w.Email)
	case ExportReady{}.Kind():
		return decode[ExportReady](w.Email)
	case ExportFailed{}.Kind():
		return decode[ExportFailed](w.Email)
	case DeviceOffline{}.Kind():
		return decode[DeviceOffline](w.Email)
	case DeviceOnline{}.Kind():
		return decode[DeviceOnline](w.Email)
	case AlarmRaised{}.Kind():
		return decode[AlarmRaised](w.Email)
	case AlarmCleared{}.Kind():
		return decode[AlarmCleared](w.Email)
	case WebhookDisabled{}.Kind():
		return decode[WebhookDisabled](w.Email)
	case Digest{}.Kind():
		return decode[Digest](w.Email)
	case ScheduledExport{}.Kind():
		return decode[ScheduledExport](w.Email)
	}
	return nil, fmt.Errorf("there is no e-mail of the kind %q", Line(w.Kind))
}

func decode[L Email](data []byte) (Email, error) {
	var email L
	err := json.Unmarshal(data, &email)
	return email, err
}
