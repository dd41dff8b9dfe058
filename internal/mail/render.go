package mail

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// Writer makes messages of letters. Make it with NewWriter; safe for concurrent use.
type Writer struct{ publicURL string }

// NewWriter makes a writer whose letters name publicURL, the address of this installation, in their footer.
func NewWriter(publicURL string) (*Writer, error) {
	if err := checkURL(publicURL); err != nil {
		return nil, fmt.Errorf("the public URL: %w", err)
	}
	return &Writer{publicURL: publicURL}, nil
}

// Envelope is a letter with its address, as JSON in the queue.
type Envelope struct {
	To     Address
	Letter Letter
}

// Message writes the letter; id is the message's.
func (w *Writer) Message(id string, e Envelope) (Message, error) {
	p := e.Letter.page()
	if err := checkURL(p.URL); err != nil {
		return Message{}, &Rejected{Cause: fmt.Errorf("the letter's link: %w", err)}
	}
	// Whatever people named things: it stays on its line.
	p.Subject, p.Title = Line(p.Subject), Line(p.Title)
	for i, f := range p.Facts {
		p.Facts[i].Value = Line(f.Value)
	}
	name := Line(e.To.Name)
	return Message{ID: id, To: e.To, Subject: p.Subject, Text: p.text(name, w.publicURL), HTML: p.html(name, w.publicURL)}, nil
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
	To     Address         `json:"to"`
	Kind   string          `json:"kind"`
	Letter json.RawMessage `json:"letter"`
}

// MarshalJSON implements json.Marshaler.
func (e Envelope) MarshalJSON() ([]byte, error) {
	if e.Letter == nil {
		return nil, errors.New("an envelope without a letter")
	}
	letter, err := json.Marshal(e.Letter)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire{To: e.To, Kind: e.Letter.Kind(), Letter: letter})
}

// UnmarshalJSON implements json.Unmarshaler. An unknown kind is an error.
func (e *Envelope) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	letter, err := read(w)
	if err != nil {
		return err
	}
	*e = Envelope{To: w.To, Letter: letter}
	return nil
}

func read(w wire) (Letter, error) {
	switch w.Kind {
	case PasswordReset{}.Kind():
		return decode[PasswordReset](w.Letter)
	case Invitation{}.Kind():
		return decode[Invitation](w.Letter)
	case NewSignIn{}.Kind():
		return decode[NewSignIn](w.Letter)
	case RefreshReused{}.Kind():
		return decode[RefreshReused](w.Letter)
	case PasswordChanged{}.Kind():
		return decode[PasswordChanged](w.Letter)
	case EmailChanged{}.Kind():
		return decode[EmailChanged](w.Letter)
	case AccountLocked{}.Kind():
		return decode[AccountLocked](w.Letter)
	case ExportReady{}.Kind():
		return decode[ExportReady](w.Letter)
	case ExportFailed{}.Kind():
		return decode[ExportFailed](w.Letter)
	case DeviceOffline{}.Kind():
		return decode[DeviceOffline](w.Letter)
	case DeviceOnline{}.Kind():
		return decode[DeviceOnline](w.Letter)
	case ScheduledExport{}.Kind():
		return decode[ScheduledExport](w.Letter)
	}
	return nil, fmt.Errorf("there is no letter of the kind %q", Line(w.Kind))
}

func decode[L Letter](data []byte) (Letter, error) {
	var letter L
	err := json.Unmarshal(data, &letter)
	return letter, err
}
