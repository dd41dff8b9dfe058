package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth"
)

// IntegrationStore is what the suite of integrations is about.
type IntegrationStore interface {
	hearth.IntegrationStore
	organizations
}

// Integrations is the suite for hearth.IntegrationStore. open returns an empty store; it is called once a test, in parallel.
func Integrations(t *testing.T, open func(*testing.T) IntegrationStore) {
	for name, test := range map[string]func(*testing.T, IntegrationStore){
		"returns, changes and deletes integrations":               integrationsRoundTrip,
		"bounds the integrations":                                 integrationsBound,
		"an organization takes its integrations along":            integrationsOfOrganization,
		"keeps which device an address made, once":                integrationsDevices,
		"counts of several processes at once are added, not lost": integrationsCounts,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func errorOf[T any](_ T, err error) error { return err }

// broker returns an integration; n makes ids and times that ascend.
func broker(n int) hearth.Integration {
	at := epoch.Add(time.Duration(n) * time.Second)
	return hearth.Integration{
		ID: fmt.Sprintf("0195b000-0000-7000-d000-%012d", n), Name: "house", Kind: hearth.IntegrationMQTT, URL: "mqtt://broker", UserID: "ann",
		Dialects: []string{"tasmota"}, Enabled: true, Version: 1, CreatedAt: at, UpdatedAt: at, Status: hearth.IntegrationOff,
	}
}

func createBroker(t *testing.T, s IntegrationStore, i hearth.Integration) hearth.Integration {
	t.Helper()
	if err := s.CreateIntegration(t.Context(), i, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return i
}

func integrationsRoundTrip(t *testing.T, s IntegrationStore) {
	want := broker(1)
	want.Username, want.Password, want.Topics, want.TimeZone = "u", []byte{0, 1}, []string{"a/{device}"}, "Europe/Berlin"
	createBroker(t, s, want)
	createBroker(t, s, broker(2))
	got, err := s.Integration(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)

	want.Status, want.LastError = hearth.IntegrationError, &hearth.DeviceError{Code: hearth.CodeUnavailable, Message: "m", Topic: "t", At: epoch}
	got, err = s.UpdateIntegration(t.Context(), want.ID, func(hearth.Integration) (hearth.Integration, error) { return want, nil }, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	list, err := s.Integrations(t.Context(), hearth.Page{})
	if err != nil || len(list.Items) != 2 || list.Items[0].ID != broker(2).ID {
		t.Errorf("the list is %+v, %v", list.Items, err)
	}
	same(t, list.Items[1], want)

	refused := errors.New("refused")
	if err := s.DeleteIntegration(t.Context(), want.ID, func(hearth.Integration) error { return refused }, hearth.SideEffects{}); !errors.Is(err, refused) {
		t.Errorf("the check's error is %v", err)
	}
	if err := s.DeleteIntegration(t.Context(), want.ID, func(hearth.Integration) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		errorOf(s.Integration(t.Context(), want.ID)),
		errorOf(s.UpdateIntegration(t.Context(), want.ID, func(i hearth.Integration) (hearth.Integration, error) { return i, nil }, hearth.SideEffects{})),
		s.DeleteIntegration(t.Context(), want.ID, func(hearth.Integration) error { return nil }, hearth.SideEffects{}),
	} {
		wantCode(t, err, hearth.CodeNotFound)
	}
}

func integrationsBound(t *testing.T, s IntegrationStore) {
	for n := range hearth.MaxIntegrations {
		createBroker(t, s, broker(n))
	}
	wantCode(t, s.CreateIntegration(t.Context(), broker(99), hearth.SideEffects{}), hearth.CodeConflict)
}

func integrationsOfOrganization(t *testing.T, s IntegrationStore) {
	lost := broker(1)
	lost.OrganizationID = "0195b000-0000-7000-e000-000000000099"
	wantCode(t, s.CreateIntegration(t.Context(), lost, hearth.SideEffects{}), hearth.CodeNotFound)
	const org = "team"
	person(t, s, "ann")
	organization(t, s, org, "ann", 0)
	lost.OrganizationID = org
	createBroker(t, s, lost)
	kept := createBroker(t, s, broker(2))
	for i, of := range []hearth.Integration{lost, kept} {
		if err := s.AddIntegrationDevice(t.Context(), link(of, i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.DeleteOrganization(t.Context(), org, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, errorOf(s.Integration(t.Context(), lost.ID)), hearth.CodeNotFound)
	wantCode(t, errorOf(s.IntegrationDevice(t.Context(), link(lost, 0).DeviceID)), hearth.CodeNotFound)
	if links, err := s.IntegrationDevices(t.Context(), kept.ID); err != nil || len(links) != 1 {
		t.Errorf("another integration has %v, %v", links, err)
	}
}

func link(of hearth.Integration, n int) hearth.IntegrationDevice {
	return hearth.IntegrationDevice{
		DeviceID: fmt.Sprintf("0195b000-0000-7000-f000-%012d", n), IntegrationID: of.ID, Dialect: "tasmota", Address: "kitchen/plug", CreatedAt: epoch,
	}
}

func integrationsDevices(t *testing.T, s IntegrationStore) {
	i := createBroker(t, s, broker(1))
	want := link(i, 1)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := s.AddIntegrationDevice(t.Context(), want); err != nil && hearth.ErrorCode(err) != hearth.CodeConflict {
				t.Error(err)
			}
		})
	}
	all.Wait()
	links, err := s.IntegrationDevices(t.Context(), i.ID)
	if err != nil || len(links) != 1 {
		t.Fatalf("the devices are %v, %v", links, err)
	}
	same(t, links[0], want)
	wantCode(t, s.AddIntegrationDevice(t.Context(), link(broker(9), 2)), hearth.CodeNotFound)
	if err := s.DeleteIntegration(t.Context(), i.ID, func(hearth.Integration) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, errorOf(s.IntegrationDevice(t.Context(), want.DeviceID)), hearth.CodeNotFound)
}

func integrationsCounts(t *testing.T, s IntegrationStore) {
	i := createBroker(t, s, broker(1))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := s.UpdateIntegration(context.WithoutCancel(t.Context()), i.ID, func(i hearth.Integration) (hearth.Integration, error) {
				i.Counts.Messages += 5
				return i, nil
			}, hearth.SideEffects{})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := s.Integration(t.Context(), i.ID); err != nil || got.Counts.Messages != 40 {
		t.Errorf("counted %+v, %v", got.Counts, err)
	}
}
