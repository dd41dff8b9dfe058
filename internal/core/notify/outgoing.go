package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"hearth"
	"hearth/internal/audited"
	"hearth/internal/guardedhttp"
	"hearth/internal/queue"
)

// outgoing is a message to a channel.
type outgoing struct {
	// id is the same for every attempt.
	id    string
	items []hearth.DigestItem
	// dropped is how many further notifications there were no room for.
	dropped int
}

// The most bytes of a text: ntfy makes an attachment of a longer one, and Teams refuses messages of more than 28 KB.
const (
	maxNtfyText = 4000
	maxChatText = 12_000
)

// post sends a message to a channel once.
func (s *Service) post(ctx context.Context, c hearth.NotificationChannel, m outgoing) guardedhttp.Outcome {
	now := s.now()
	to, err := s.open(c)
	if err != nil {
		s.o.Logger.ErrorContext(ctx, "a notification channel cannot be used", "channel", c.ID, "err", err)
		return guardedhttp.Outcome{DeliveryAttempt: hearth.DeliveryAttempt{At: now, Error: err.Error()}}
	}
	request := guardedhttp.Request{URL: to.URL, Header: http.Header{}}
	switch c.Kind {
	case hearth.ChannelWebhook:
		request.Body, err = m.webhook(now)
		request.Header = guardedhttp.Sign(m.id, now, request.Body, to.secrets(now)...)
	case hearth.ChannelNtfy:
		server, topic, _ := ntfyTopic(to.URL)
		request.URL = server
		request.Body, err = m.ntfy(topic)
		if to.Token != "" {
			request.Header.Set("Authorization", "Bearer "+to.Token)
		}
	case hearth.ChannelSlack:
		request.Body, err = m.slack()
	case hearth.ChannelTeams:
		request.Body, err = m.teams()
	default:
		err = fmt.Errorf("there is no kind of channel %q", c.Kind)
	}
	if err != nil {
		return guardedhttp.Outcome{DeliveryAttempt: hearth.DeliveryAttempt{At: now, Error: err.Error()}}
	}
	return s.o.Client.Post(ctx, request, now)
}

// title is the line that stands for the message.
func (m outgoing) title() string {
	if n := len(m.items) + m.dropped; n > 1 {
		return fmt.Sprintf("%d notifications", n)
	}
	return m.items[0].Title
}

// lines returns the items as text, one after another as long as there is room, and the number of the others.
func (m outgoing) lines(most int, line func(hearth.DigestItem) string) (lines []string, left int) {
	size := 0
	for i, item := range m.items {
		text := line(item)
		if size += len(text) + 2; size > most && i > 0 {
			return lines, m.dropped + len(m.items) - i
		}
		lines = append(lines, text)
	}
	return lines, m.dropped
}

// andMore names the number of notifications that are not in a message; nothing for 0.
func andMore(lines []string, left int) []string {
	if left > 0 {
		return append(lines, fmt.Sprintf("and %d more", left))
	}
	return lines
}

// webhook returns the event "notification" as the Standard Webhooks specification says.
func (m outgoing) webhook(now time.Time) ([]byte, error) {
	type notification struct {
		ID        string            `json:"id"`
		Type      string            `json:"type"`
		Title     string            `json:"title"`
		Body      string            `json:"body"`
		Severity  string            `json:"severity,omitempty"`
		Data      map[string]string `json:"data"`
		URL       string            `json:"url"`
		CreatedAt string            `json:"created_at"`
	}
	const layout = "2006-01-02T15:04:05.000Z"
	all := make([]notification, len(m.items))
	for i, item := range m.items {
		data := item.Data
		if data == nil {
			data = map[string]string{}
		}
		all[i] = notification{
			item.ID, string(item.Type), item.Title, item.Body, string(item.Severity), data, item.URL, item.At.Format(layout),
		}
	}
	return json.Marshal(map[string]any{
		"type": "notification", "timestamp": now.Format(layout), "data": map[string]any{"notifications": all, "more": m.dropped},
	})
}

// ntfy returns a message of ntfy's publishing as JSON: https://docs.ntfy.sh/publish/#publish-as-json.
func (m outgoing) ntfy(topic string) ([]byte, error) {
	first := m.items[0]
	text, tags := first.Body, map[bool][]string{true: {"warning"}, false: {"bell"}}
	if len(m.items)+m.dropped > 1 {
		text = strings.Join(andMore(m.lines(maxNtfyText, func(i hearth.DigestItem) string { return i.Title + ": " + i.Body })), "\n")
	}
	priority := 3
	for _, item := range m.items {
		priority = max(priority, map[hearth.Severity]int{hearth.SeverityCritical: 5, hearth.SeverityMajor: 4}[item.Severity])
	}
	if len(m.items) == 1 && first.Severity == hearth.SeverityInfo {
		priority = 2
	}
	message := map[string]any{"topic": topic, "title": m.title(), "message": text, "priority": priority, "tags": tags[first.Severity != ""]}
	if link := m.link(); link != "" {
		message["click"] = link
	}
	return json.Marshal(message)
}

// link is where the message leads to: to its notification, or the list of them.
func (m outgoing) link() string {
	first := m.items[0].URL
	if len(m.items)+m.dropped == 1 {
		return first
	}
	if i := strings.Index(first, "://"); i >= 0 {
		if j := strings.IndexByte(first[i+3:], '/'); j >= 0 {
			return first[:i+3+j] + "/notifications"
		}
	}
	return first
}

// slackText makes text that Slack shows as it is.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;") // never written to

// slack returns a message for an incoming webhook of Slack, and of what accepts the same.
func (m outgoing) slack() ([]byte, error) {
	lines, left := m.lines(maxChatText, func(i hearth.DigestItem) string {
		text := "*" + strings.ReplaceAll(slackText.Replace(i.Title), "*", "∗") + "*"
		if i.Body != "" {
			text += "\n" + slackText.Replace(i.Body)
		}
		if i.URL != "" {
			text += "\n<" + i.URL + "|Open in hearth>"
		}
		return text
	})
	return json.Marshal(map[string]string{"text": strings.Join(andMore(lines, left), "\n\n")})
}

// teams returns a message with an Adaptive Card for an incoming webhook of Microsoft Teams: of a workflow or of a connector.
func (m outgoing) teams() ([]byte, error) {
	type object = map[string]any
	var body []object
	block := func(text string, more object) {
		b := object{"type": "TextBlock", "text": plainMarkdown.Replace(text), "wrap": true}
		maps.Copy(b, more)
		body = append(body, b)
	}
	lines, left := m.lines(maxChatText, func(i hearth.DigestItem) string { return i.Title + i.Body })
	for _, item := range m.items[:len(lines)] {
		style := object{"weight": "Bolder", "size": "Medium"}
		if item.Severity == hearth.SeverityCritical {
			style["color"] = "Attention"
		}
		block(item.Title, style)
		if item.Body != "" {
			block(item.Body, object{"spacing": "None"})
		}
	}
	for _, text := range andMore(nil, left) {
		block(text, nil)
	}
	card := object{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body}
	if link := m.link(); link != "" {
		card["actions"] = []object{{"type": "Action.OpenUrl", "title": "Open in hearth", "url": link}}
	}
	return json.Marshal(object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card,
	}}})
}

// plainMarkdown keeps Teams from reading text as markup.
var plainMarkdown = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "`", "\\`", "#", `\#`) // never written to

// gone is the status of a receiver that wants no more messages.
const gone = 410

// noteAttempt makes of a channel what came of an attempt, and reports whether the channel is sent nothing more: one that fails for long, or
// whose receiver is gone, is disabled.
func (s *Service) noteAttempt(ctx context.Context, c hearth.NotificationChannel, out guardedhttp.Outcome) (ended bool, err error) {
	if out.Succeeded() && c.FailingSince.IsZero() {
		return false, nil
	}
	now := s.now()
	notice, err := json.Marshal(hearth.WebhookNotice{ChannelID: c.ID, Name: c.Name, UserID: c.UserID, Reason: reasonOf(out), At: now})
	if err != nil {
		return false, err
	}
	var effects hearth.SideEffects
	effects.JobsAfter = func() ([]hearth.OutboxJob, error) {
		if !ended {
			return nil, nil
		}
		return []hearth.OutboxJob{{ID: queue.NewID(now), Kind: WebhookKind, Queue: string(queue.Notification), Payload: notice}}, nil
	}
	_, err = s.o.Channels.UpdateChannel(ctx, c.ID, func(c hearth.NotificationChannel) (hearth.NotificationChannel, error) {
		ended = false
		switch {
		case out.Succeeded():
			c.FailingSince, c.LastError = time.Time{}, ""
			return c, nil
		case c.FailingSince.IsZero():
			c.FailingSince = out.At
		case c.LastError == out.Error && out.Status != gone && out.At.Sub(c.FailingSince) < hearth.MaxFailing:
			return c, audited.ErrUnchanged
		}
		c.LastError = out.Error
		if c.Enabled && (out.Status == gone || out.At.Sub(c.FailingSince) >= hearth.MaxFailing) {
			ended = true
			c.Enabled, c.DisabledReason, c.UpdatedAt = false, reasonOf(out), now
			c.Version++
		}
		return c, nil
	}, effects)
	if errors.Is(err, audited.ErrUnchanged) || hearth.ErrorCode(err) == hearth.CodeNotFound {
		return false, nil
	}
	return ended, err
}

func reasonOf(out guardedhttp.Outcome) string {
	if out.Status == gone {
		return hearth.WebhookGone
	}
	return hearth.WebhookFailing
}
