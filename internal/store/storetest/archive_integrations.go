package storetest

import (
	"time"

	"hearth"
)

func (g *recordMaker) integrationID(i int) string { return g.id(22, i%max(1, g.n)) }

func (g *recordMaker) integrations() []hearth.Integration {
	return each(min(g.n, hearth.MaxIntegrations), func(i int) hearth.Integration {
		return hearth.Integration{
			ID: g.integrationID(i), Name: "n", Kind: hearth.IntegrationMQTT, URL: "mqtt://broker", UserID: g.userID(i), Dialects: hearth.Dialects(),
			Version: 1, CreatedAt: g.at(i), UpdatedAt: g.at(i), Status: hearth.IntegrationOff,
		}
	}, func(i int, r *hearth.Integration) {
		r.Username, r.Password, r.OrganizationID, r.Topics, r.TimeZone, r.Enabled = "u", g.hash("broker", i), g.orgID(i), []string{"a/{device}"}, "Asia/Kolkata", true
		r.Status, r.Counts = hearth.IntegrationError, hearth.IntegrationCounts{Messages: 4, Readings: 3, Refused: 2, Devices: 1}
		r.LastError = &hearth.DeviceError{Code: hearth.CodeUnavailable, Message: "m", Topic: "t", At: g.at(i + 1)}
	})
}

func (g *recordMaker) links() []hearth.IntegrationDevice {
	all := make([]hearth.IntegrationDevice, min(g.n, hearth.MaxIntegrations))
	for i := range all {
		all[i] = hearth.IntegrationDevice{
			DeviceID: g.deviceID(i), IntegrationID: g.integrationID(i), Dialect: "tasmota", Address: "a/b", CreatedAt: g.at(i),
		}
	}
	return all
}

type lineIntegration struct {
	ID             string                   `json:"id"`
	Name           string                   `json:"name"`
	Kind           string                   `json:"kind"`
	URL            string                   `json:"url"`
	Username       string                   `json:"username,omitempty"`
	Password       []byte                   `json:"password,omitempty"`
	UserID         string                   `json:"user_id"`
	OrganizationID string                   `json:"organization_id,omitempty"`
	Dialects       []string                 `json:"dialects"`
	Topics         []string                 `json:"topics,omitempty"`
	TimeZone       string                   `json:"time_zone,omitempty"`
	Enabled        bool                     `json:"enabled,omitempty"`
	Version        int64                    `json:"version"`
	CreatedAt      time.Time                `json:"created_at,omitzero"`
	UpdatedAt      time.Time                `json:"updated_at,omitzero"`
	Status         hearth.IntegrationStatus `json:"status"`
	LastError      lineIntegrationError     `json:"last_error,omitzero"`
	Counts         lineIntegrationCounts    `json:"counts,omitzero"`
}

type lineIntegrationError struct {
	Code    hearth.Code `json:"code,omitempty"`
	Message string      `json:"message,omitempty"`
	Topic   string      `json:"topic,omitempty"`
	At      int64       `json:"at,omitempty"`
}

type lineIntegrationCounts struct {
	Messages int64 `json:"messages,omitempty"`
	Readings int64 `json:"readings,omitempty"`
	Refused  int64 `json:"refused,omitempty"`
	Devices  int64 `json:"devices,omitempty"`
}

func writeIntegration(i hearth.Integration) lineIntegration {
	line := lineIntegration{
		i.ID, i.Name, i.Kind, i.URL, i.Username, i.Password, i.UserID, i.OrganizationID, i.Dialects, i.Topics, i.TimeZone, i.Enabled, i.Version,
		i.CreatedAt, i.UpdatedAt, i.Status, lineIntegrationError{}, lineIntegrationCounts(i.Counts),
	}
	if e := i.LastError; e != nil {
		line.LastError = lineIntegrationError{e.Code, e.Message, e.Topic, e.At.UnixMilli()}
	}
	return line
}

func readIntegration(l lineIntegration) hearth.Integration {
	i := hearth.Integration{
		ID: l.ID, Name: l.Name, Kind: l.Kind, URL: l.URL, Username: l.Username, Password: l.Password, UserID: l.UserID, OrganizationID: l.OrganizationID,
		Dialects: l.Dialects, Topics: l.Topics, TimeZone: l.TimeZone, Enabled: l.Enabled, Version: l.Version, CreatedAt: l.CreatedAt,
		UpdatedAt: l.UpdatedAt, Status: l.Status, Counts: hearth.IntegrationCounts(l.Counts),
	}
	if e := l.LastError; e.At != 0 {
		i.LastError = &hearth.DeviceError{Code: e.Code, Message: e.Message, Topic: e.Topic, At: time.UnixMilli(e.At).UTC()}
	}
	return i
}

type lineLink struct {
	DeviceID      string    `json:"device_id"`
	IntegrationID string    `json:"integration_id"`
	Dialect       string    `json:"dialect"`
	Address       string    `json:"address"`
	CreatedAt     time.Time `json:"created_at,omitzero"`
}
