package storetest

import (
	"context"
	"testing"

	"hearth"
)

// logsOf counts the logs that a scope shows, in two ways.
func logsOf(t *testing.T, s hearth.DeviceStore, scope hearth.Scope) int64 {
	t.Helper()
	logs, ok := s.(hearth.LogStore)
	if !ok {
		t.Fatal("the store keeps no logs")
	}
	reach := hearth.Reach{Scopes: []hearth.Scope{scope}}
	counted, err := logs.CountLogs(t.Context(), reach)
	if err != nil {
		t.Fatal(err)
	}
	span := hearth.Span{From: epoch.AddDate(-1, 0, 0), To: epoch.AddDate(1, 0, 0)}
	found := int64(0)
	for _, err := range logs.ScanLogs(t.Context(), hearth.LogScan{Reach: reach, Span: span}) {
		if err != nil {
			t.Fatal(err)
		}
		found++
	}
	if found != counted {
		t.Errorf("%s: %d logs are counted, %d found", scope, counted, found)
	}
	return counted
}

func appendReadings(t *testing.T, s hearth.DeviceStore, devices ...hearth.Device) {
	t.Helper()
	var entries []hearth.LogEntry
	for _, d := range devices {
		for i := range 30 {
			entries = append(entries, hearth.LogEntry{Device: d.Key, Event: "e", Value: hearth.Number(float64(i)), At: epoch.AddDate(0, 0, i%3).UnixMilli()})
		}
	}
	if _, err := s.(hearth.LogStore).AppendLogs(t.Context(), entries, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func transfer(ctx context.Context, s hearth.DeviceStore, id, owner, organization string) (hearth.Device, error) {
	return s.TransferDevice(ctx, id, func(d hearth.Device) (hearth.Device, error) {
		d.OwnerID, d.OrganizationID = owner, organization
		return d, nil
	}, hearth.SideEffects{})
}

func devicesTransfer(t *testing.T, s hearth.DeviceStore) {
	user := person(t, s.(organizations), "new-owner")
	ensureOrganization(t, s, "o1")
	d := createDevices(t, s, withSerial(device(1), "A"), device(2))[0]
	other := mustDevice(t, s, device(2).ID)
	addToken(t, s, d.ID, "t1")
	appendReadings(t, s, d, other)
	here, org, there := d.Scope(), hearth.OrgScope("o1"), hearth.UserScope(user)
	check := func(want map[hearth.Scope]int64) {
		t.Helper()
		for _, scope := range []hearth.Scope{here, org, there} {
			if got := logsOf(t, s, scope); got != want[scope] {
				t.Errorf("%s has %d logs, want %d", scope, got, want[scope])
			}
		}
	}
	moved, err := transfer(t.Context(), s, d.ID, d.OwnerID, "o1")
	if err != nil {
		t.Fatal(err)
	}
	want := d
	want.OrganizationID, want.Version = "o1", d.Version+1
	sameDevices(t, moved, want)
	sameDevices(t, mustDevice(t, s, d.ID), want)
	check(map[hearth.Scope]int64{here: 30, org: 30})
	appendReadings(t, s, d)
	check(map[hearth.Scope]int64{here: 30, org: 60})
	if _, err := transfer(t.Context(), s, d.ID, user, ""); err != nil {
		t.Fatal(err)
	}
	check(map[hearth.Scope]int64{here: 30, there: 60})
	if _, err := s.DeviceTokenByHash(t.Context(), tokenHash("t1")); err != nil {
		t.Errorf("the token of a device that changed hands: %v", err)
	}
	// Its serial is free where it was, and taken where it is.
	createDevices(t, s, withSerial(device(3), "A"))
	taken := withSerial(device(4), "A")
	taken.OwnerID = user
	_, err = s.CreateDevices(t.Context(), []hearth.Device{taken}, hearth.SideEffects{})
	wantSerialTaken(t, err, "items[0].serial")
	remove(t, s, d.ID)
	check(map[hearth.Scope]int64{here: 30})
}

func devicesTransferRefused(t *testing.T, s hearth.DeviceStore) {
	user := person(t, s.(organizations), "new-owner")
	d := createDevices(t, s, withSerial(device(1), "A"))[0]
	appendReadings(t, s, d)
	theirs := withSerial(device(2), "A")
	theirs.OwnerID = user
	createDevices(t, s, theirs)
	_, err := transfer(t.Context(), s, d.ID, user, "")
	wantSerialTaken(t, err, "serial")
	for _, to := range [][2]string{{"nobody", ""}, {d.OwnerID, "nothing"}} {
		_, err = transfer(t.Context(), s, d.ID, to[0], to[1])
		wantCode(t, err, hearth.CodeNotFound)
	}
	_, err = transfer(t.Context(), s, "nothing", user, "")
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.TransferDevice(t.Context(), d.ID, func(d hearth.Device) (hearth.Device, error) {
		return d, hearth.Errorf(hearth.CodeForbidden, "no")
	}, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeForbidden)
	sameDevices(t, mustDevice(t, s, d.ID), d)
	if here, there := logsOf(t, s, d.Scope()), logsOf(t, s, hearth.UserScope(user)); here != 30 || there != 0 {
		t.Errorf("%d logs here and %d there, want 30 and 0", here, there)
	}
}
