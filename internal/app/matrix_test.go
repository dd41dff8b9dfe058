package app_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/apitest"
)

// matrix is who gets which answer from which operation. The objects of the columns owner to loggedout are a person's own
// device, or an organization that none of them is in; those of the columns o.* are an organization with its device, in
// which the caller has that role. other is a stranger to both, mate another device of the same owner, admin one of the
// installation; o.key is an API key of the o.owner's with every scope, bound to the organization. Exports, schedules and batches of
// commands are their orderer's apitest.Embedded, also in an organization; exports wait (409 for the file), as no worker takes
// them here.
//
// The last column is the scope that lets an API key of the owner's do what the owner may: with every other one it is 403, and so with
// all of them where it says closed; where it says public no token is looked at.
//
// A new operation needs a row here, and an entry in paths or bodies where the document's examples do not make a request
// that would succeed. 401 comes before 403, and the 403 of a device or of a person who is no admin before 404. A batch of logs
// names the index of a device that is not the caller's or not there (422), and one of heartbeats counts it as rejected.
const matrix = `
operation              nobody owner other admin device mate disabled loggedout o.owner o.admin o.member o.viewer o.key scope

get-liveness              200   200   200   200    200  200      200       200     200     200      200      200   200 public
get-readiness             200   200   200   200    200  200      200       200     200     200      200      200   200 public
get-health                200   200   200   200    200  200      200       200     200     200      200      200   200 public
get-keys                  200   200   200   200    200  200      200       200     200     200      200      200   200 public
log-in                    200   200   200   200    200  200      200       200     200     200      200      200   200 public
refresh                   200   200   200   200    200  200      200       200     200     200      200      200   200 public
revoke                    204   204   204   204    204  204      204       204     204     204      204      204   204 public
set-up                    403   403   403   403    403  403      403       403     403     403      403      403   403 public
sign-up                   201   201   201   201    201  201      201       201     201     201      201      201   201 public
request-password-reset    202   202   202   202    202  202      202       202     202     202      202      202   202 public
confirm-password-reset    422   422   422   422    422  422      422       422     422     422      422      422   422 public
confirm-email             422   422   422   422    422  422      422       422     422     422      422      422   422 public

get-me                    401   200   200   200    403  403      401       401     200     200      200      200   403 closed
update-me                 401   200   200   200    403  403      401       401     200     200      200      200   403 closed
change-password           401   204   204   204    403  403      401       401     204     204      204      204   403 closed
list-sessions             401   200   200   200    403  403      401       401     200     200      200      200   403 closed
end-session               401   204   404   404    403  403      401       401     404     404      404      404   403 closed
log-out                   401   204   204   204    403  403      401       401     204     204      204      204   403 closed
log-out-all               401   200   200   200    403  403      401       401     200     200      200      200   403 closed
create-api-key            401   201   201   201    403  403      401       401     201     201      201      201   403 closed
list-api-keys             401   200   200   200    403  403      401       401     200     200      200      200   403 closed
delete-api-key            401   204   404   404    403  403      401       401     204     404      404      404   403 closed

list-notifications        401   200   200   200    403  403      401       401     200     200      200      200   403 closed
read-notification         401   200   404   404    403  403      401       401     200     404      404      404   403 closed
read-all-notifications    401   200   200   200    403  403      401       401     200     200      200      200   403 closed
get-notification-settings 401   200   200   200    403  403      401       401     200     200      200      200   403 closed
set-notification-settings 401   200   200   200    403  403      401       401     200     200      200      200   403 closed
create-notification-channel 401 201   201   201    403  403      401       401     201     201      201      201   403 closed
list-notification-channels 401  200   200   200    403  403      401       401     200     200      200      200   403 closed
get-notification-channel  401   200   404   404    403  403      401       401     200     404      404      404   403 closed
update-notification-channel 401 200   404   404    403  403      401       401     200     404      404      404   403 closed
delete-notification-channel 401 204   404   404    403  403      401       401     204     404      404      404   403 closed
rotate-notification-channel-secret 401 200 404 404  403  403      401       401     200     404      404      404   403 closed
test-notification-channel 401   200   404   404    403  403      401       401     200     404      404      404   403 closed

list-users                401   403   403   200    403  403      401       401     403     403      403      403   403 closed
update-user               401   403   403   200    403  403      401       401     403     403      403      403   403 closed
list-audit                401   403   403   200    403  403      401       401     403     403      403      403   403 closed
export-audit              401   403   403   200    403  403      401       401     403     403      403      403   403 closed
get-metrics               401   403   403   200    403  403      401       401     403     403      403      403   403 closed
list-queues               401   403   403   200    403  403      401       401     403     403      403      403   403 closed
list-jobs                 401   403   403   200    403  403      401       401     403     403      403      403   403 closed
retry-job                 401   403   403   409    403  403      401       401     403     403      403      403   403 closed
delete-job                401   403   403   204    403  403      401       401     403     403      403      403   403 closed
list-backups              401   403   403   200    403  403      401       401     403     403      403      403   403 closed
order-backup              401   403   403   202    403  403      401       401     403     403      403      403   403 closed
stream-stats              401   403   403   200    403  403      401       401     403     403      403      403   403 closed

create-device             401   201   201   201    403  403      401       401     201     201      201      403   201 devices:write
create-devices            401   201   201   201    403  403      401       401     201     201      201      403   201 devices:write
list-devices              401   200   200   200    403  403      401       401     200     200      200      200   200 devices:read
get-device                401   200   404   200    200  404      401       401     200     200      200      200   200 devices:read
get-own-device            401   404   404   404    200  200      401       401     404     404      404      404   403 closed
update-device             401   200   404   200    403  403      401       401     200     200      200      403   200 devices:write
delete-device             401   204   404   204    403  403      401       401     204     204      204      403   204 devices:write
transfer-device           401   200   404   200    403  403      401       401     200     200      200      403   200 devices:write
list-device-tokens        401   200   404   200    403  403      401       401     200     200      200      403   200 devices:read
create-device-token       401   201   404   201    403  403      401       401     201     201      201      403   201 devices:write
delete-device-token       401   204   404   204    403  403      401       401     204     204      204      403   204 devices:write
send-heartbeat            401   200   404   200    200  404      401       401     200     200      200      403   200 telemetry:write
send-heartbeats           401   200   200   200    200  200      401       401     200     200      200      200   200 telemetry:write

create-provisioning-key   401   201   201   201    403  403      401       401     201     201      403      403   403 closed
list-provisioning-keys    401   200   200   200    403  403      401       401     200     200      200      200   403 closed
delete-provisioning-key   401   204   404   204    403  403      401       401     204     204      403      403   403 closed
provision-device          201   201   201   201    201  201      201       201     201     201      201      201   201 public
create-claim-code         401   201   404   201    403  403      401       401     201     201      201      403   201 devices:write
claim-device              401   200   200   200    403  403      401       401     200     200      200      200   403 devices:write

get-twin                  401   200   404   200    200  404      401       401     200     200      200      200   200 devices:read
update-twin-desired       401   200   404   200    403  403      401       401     200     200      200      403   200 devices:write
update-twin-reported      401   200   404   200    200  404      401       401     200     200      200      403   200 telemetry:write

send-command              401   202   404   202    403  403      401       401     202     202      202      403   202 commands:write
list-commands             401   200   404   200    403  403      401       401     200     200      200      200   200 commands:read
get-command               401   200   404   200    403  403      401       401     200     200      200      200   200 commands:read
cancel-command            401   200   404   200    403  403      401       401     200     200      200      403   200 commands:write
next-command              401   403   404   403    200  404      401       401     403     403      403      403   403 closed
acknowledge-command       401   403   404   403    204  404      401       401     403     403      403      403   403 closed
answer-command            401   403   404   403    204  404      401       401     403     403      403      403   403 closed
send-commands             401   202   422   202    403  403      401       401     202     202      202      422   202 commands:write
get-command-batch         401   200   404   200    403  403      401       401     200     404      404      404   404 commands:read

create-rule               401   201   201   201    403  403      401       401     201     201      201      403   201 alarms:write
list-rules                401   200   200   200    403  403      401       401     200     200      200      200   200 alarms:read
get-rule                  401   200   404   200    403  403      401       401     200     200      200      200   200 alarms:read
update-rule               401   200   404   200    403  403      401       401     200     200      200      403   200 alarms:write
delete-rule               401   204   404   204    403  403      401       401     204     204      204      403   204 alarms:write
test-rule                 401   200   404   200    403  403      401       401     200     200      200      200   200 alarms:read
list-alarms               401   200   200   200    403  403      401       401     200     200      200      200   200 alarms:read
get-alarm                 401   200   404   200    403  403      401       401     200     200      200      200   200 alarms:read
acknowledge-alarm         401   200   404   200    403  403      401       401     200     200      200      403   200 alarms:write
clear-alarm               401   200   404   200    403  403      401       401     200     200      200      403   200 alarms:write
comment-alarm             401   200   404   200    403  403      401       401     200     200      200      403   200 alarms:write

create-log                401   201   404   201    201  404      401       401     201     201      201      403   201 telemetry:write
create-logs               401   201   422   201    201  404      401       401     201     201      201      403   201 telemetry:write
list-logs                 401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
delete-logs               401   200   404   200    403  403      401       401     200     200      200      403   200 telemetry:write
latest-logs               401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
device-states             401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
device-usage              401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
comparison                401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
dashboard                 401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
events                    401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
realtime-figures          401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
trends                    401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read

create-export             401   202   202   202    403  403      401       401     202     202      202      202   202 exports:write
list-exports              401   200   200   200    403  403      401       401     200     200      200      200   200 exports:read
export-stats              401   200   200   200    403  403      401       401     200     200      200      200   200 exports:read
get-export                401   200   404   200    403  403      401       401     200     404      404      404   404 exports:read
cancel-export             401   200   404   200    403  403      401       401     200     404      404      404   404 exports:write
download-export           401   409   404   409    403  403      401       401     409     404      404      404   404 exports:read
delete-export             401   204   404   204    403  403      401       401     204     404      404      404   404 exports:write
create-export-schedule    401   201   201   201    403  403      401       401     201     201      201      201   201 exports:write
list-export-schedules     401   200   200   200    403  403      401       401     200     200      200      200   200 exports:read
get-export-schedule       401   200   404   200    403  403      401       401     200     404      404      404   404 exports:read
update-export-schedule    401   200   404   200    403  403      401       401     200     404      404      404   404 exports:write
delete-export-schedule    401   204   404   204    403  403      401       401     204     404      404      404   404 exports:write

create-webhook            401   201   201   201    403  403      401       401     201     201      403      403   201 alarms:write
list-webhooks             401   200   200   200    403  403      401       401     200     200      200      200   200 alarms:read
get-webhook               401   200   404   200    403  403      401       401     200     200      403      403   200 alarms:read
update-webhook            401   200   404   200    403  403      401       401     200     200      403      403   200 alarms:write
delete-webhook            401   204   404   204    403  403      401       401     204     204      403      403   204 alarms:write
rotate-webhook-secret     401   200   404   200    403  403      401       401     200     200      403      403   200 alarms:write
test-webhook              401   202   404   202    403  403      401       401     202     202      403      403   202 alarms:write
list-webhook-deliveries   401   200   404   200    403  403      401       401     200     200      403      403   200 alarms:read
retry-webhook-delivery    401   200   404   200    403  403      401       401     200     200      403      403   200 alarms:write

create-integration        401   403   403   201    403  403      401       401     403     403      403      403   403 closed
list-integrations         401   403   403   200    403  403      401       401     403     403      403      403   403 closed
get-integration           401   403   403   200    403  403      401       401     403     403      403      403   403 closed
update-integration        401   403   403   200    403  403      401       401     403     403      403      403   403 closed
delete-integration        401   403   403   204    403  403      401       401     403     403      403      403   403 closed

stream-events             401   200   404   200    403  403      401       401     200     200      200      200   200 telemetry:read
create-stream-ticket      401   201   201   201    403  403      401       401     201     201      201      201   201 telemetry:read
connect-websocket         101   101   101   101    403  403      101       101     101     101      101      101   101 telemetry:read
connect-mqtt              101   101   101   101    101  101      101       101     101     101      101      101   101 telemetry:write

create-organization       401   201   201   201    403  403      401       401     201     201      201      201   403 closed
list-organizations        401   200   200   200    403  403      401       401     200     200      200      200   403 closed
accept-invitation         401   422   422   422    403  403      401       401     422     422      422      422   403 closed
get-organization          401   404   404   200    403  403      401       401     200     200      200      200   403 closed
update-organization       401   404   404   200    403  403      401       401     200     200      403      403   403 closed
delete-organization       401   404   404   204    403  403      401       401     204     403      403      403   403 closed
list-members              401   404   404   200    403  403      401       401     200     200      200      200   403 closed
set-member                401   404   404   200    403  403      401       401     200     200      403      403   403 closed
remove-member             401   404   404   204    403  403      401       401     204     204      403      403   403 closed
create-invitation         401   404   404   201    403  403      401       401     201     201      403      403   403 closed
list-invitations          401   404   404   200    403  403      401       401     200     200      403      403   403 closed
delete-invitation         401   404   404   204    403  403      401       401     204     204      403      403   403 closed
`

// matrixRow is an operation's statuses by caller, and the scope that an API key needs.
type matrixRow struct {
	status map[string]int
	scope  string
}

// readMatrix returns the callers and each operation's row.
func readMatrix(t *testing.T) (callers []string, rows map[string]matrixRow) {
	t.Helper()
	rows = map[string]matrixRow{}
	for line := range strings.Lines(matrix) {
		cells := strings.Fields(line)
		switch {
		case len(cells) == 0:
			continue
		case callers == nil:
			callers = cells[1 : len(cells)-1]
			continue
		case len(cells) != len(callers)+2 || rows[cells[0]].status != nil:
			t.Fatalf("the row %q has a cell too many or too few, or is there twice", line)
		}
		row := matrixRow{status: map[string]int{}, scope: cells[len(cells)-1]}
		for i, cell := range cells[1 : len(cells)-1] {
			status, err := strconv.Atoi(cell)
			if err != nil {
				t.Fatalf("the row %q: %v", line, err)
			}
			row.status[callers[i]] = status
		}
		rows[cells[0]] = row
	}
	return callers, rows
}

// The town's own figures come first: what the matrix asks for makes new objects.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		town := newFixture(t, m)
		t.Run("figures do not cross owners", town.compareFigures)
		t.Run("another's object looks like none", town.compareWithMissing)
		t.Run("another's id in a query or body looks like none", town.compareIDsWithMissing)
		t.Run("every operation answers every caller by the table", town.askByTheTable)
		t.Run("every operation answers every single scope by the table", town.askByScope)
	})
}

func (w *fixture) askByTheTable(t *testing.T) {
	callers, rows := readMatrix(t)
	seen, answers := map[string]bool{}, 0
	for _, op := range w.operations() {
		row := rows[op.OperationID]
		if row.status == nil {
			t.Errorf("%s %s has no row in the matrix: say who may call %s", op.method, op.path, op.OperationID)
			continue
		}
		seen[op.OperationID] = true
		for _, caller := range callers {
			answer := w.ask(t, op, caller)
			answers++
			if answer.status != row.status[caller] {
				t.Errorf("%s by %s: %d, want %d: %.300s", op.OperationID, caller, answer.status, row.status[caller], answer.body)
			}
			if caller != "other" {
				continue
			}
			for what, secret := range w.secrets() {
				if strings.Contains(answer.body, secret) {
					t.Errorf("%s tells a stranger %s: %s", op.OperationID, what, answer.body)
				}
			}
		}
	}
	t.Logf("%d operations × %d callers: %d answers", len(seen), len(callers), answers)
	for id := range rows {
		if !seen[id] {
			t.Errorf("the row %s has no operation", id)
		}
	}
}

// An API key of the owner's with one scope does what the owner may where that scope opens the operation, and nothing else.
func (w *fixture) askByScope(t *testing.T) {
	_, rows := readMatrix(t)
	answers := 0
	for _, op := range w.operations() {
		row := rows[op.OperationID]
		known := row.scope == "closed" || row.scope == "public"
		request := w.request(t, op, "owner")
		scopes := hearth.KeyScopes() // the right one last: what it asks for may be gone then
		slices.SortStableFunc(scopes, func(a, b hearth.KeyScope) int {
			return cmp.Compare(strings.Count(row.scope, string(a)), strings.Count(row.scope, string(b)))
		})
		for _, scope := range scopes {
			want := http.StatusForbidden
			switch row.scope {
			case "public":
				want, request = row.status["owner"], w.request(t, op, "owner")
			case string(scope):
				want, known = row.status["owner"], true
			}
			answer := w.send(t, op, "key:"+string(scope), request)
			if answers++; answer.status != want {
				t.Errorf("%s with a key for %s: %d, want %d: %.300s", op.OperationID, scope, answer.status, want, answer.body)
			}
		}
		if !known {
			t.Errorf("the row %s names no scope: %q", op.OperationID, row.scope)
		}
	}
	t.Logf("%d answers", answers)
}

// Another's object is answered byte for byte like one that is not there, whatever is asked of it.
func (w *fixture) compareWithMissing(t *testing.T) {
	compared := 0
	for _, op := range w.operations() {
		ids := op.pathIDs()
		if len(ids) == 0 {
			continue
		}
		for _, caller := range []string{"other", "device", "owner", "o.key"} {
			if caller == "owner" && strings.Contains(op.path, "/sessions/") {
				continue // a session is the owner's own
			}
			theirs, missing := w.request(t, op, "o.owner"), w.request(t, op, "o.owner")
			if caller == "device" {
				theirs, missing = w.request(t, op, "owner"), w.request(t, op, "owner")
				if strings.Contains(op.path, "/devices/") {
					theirs.ids["id"] = w.mate
				}
			}
			if caller == "o.key" {
				theirs, missing = w.request(t, op, "owner"), w.request(t, op, "owner")
			}
			for name := range missing.ids {
				missing.ids[name] = missingID
			}
			got, want := w.send(t, op, caller, theirs), w.send(t, op, caller, missing)
			compared++
			if got.whole != want.whole {
				t.Errorf("%s by %s: another's is\n%s\na missing one is\n%s", op.OperationID, caller, got.whole, want.whole)
			}
			if got.status < 400 {
				t.Errorf("%s by %s: %d for another's object", op.OperationID, caller, got.status)
			}
		}
		if len(ids) < 2 {
			continue
		}
		// What hangs on an own object, with the id of what hangs on another's.
		theirs, missing := w.request(t, op, "o.owner"), w.request(t, op, "owner")
		theirs.ids["id"] = missing.ids["id"]
		missing.ids[ids[1]] = missingID
		got, want := w.send(t, op, "owner", theirs), w.send(t, op, "owner", missing)
		if compared++; got.whole != want.whole || got.status < 400 {
			t.Errorf("%s of an own object: another's part is\n%s\na missing one is\n%s", op.OperationID, got.whole, want.whole)
		}
	}
	t.Logf("%d pairs compared", compared)
	if compared < 40 {
		t.Error("the document has hardly any object: the test lost its targets")
	}
}

// Ids of others in queries and bodies are answered like missing ones too.
func (w *fixture) compareIDsWithMissing(t *testing.T) {
	compared := 0
	foreign := map[string]string{"organization_id": w.org, "device_id": w.orgDevice, "device_ids": w.orgDevice, "channels": "device:" + w.orgDevice}
	check := func(op operationOf, place string, theirs, missing call) {
		t.Helper()
		got, want := w.send(t, op, "other", theirs), w.send(t, op, "other", missing)
		compared++
		if got.whole != want.whole {
			t.Errorf("%s with another's %s is\n%s\nwith a missing one\n%s", op.OperationID, place, got.whole, want.whole)
		}
		if strings.Contains(got.body, theirs.query.Get(place)+`"`) && got.status < 400 && theirs.query.Get(place) != "" {
			t.Errorf("%s shows another's %s: %s", op.OperationID, place, got.body)
		}
	}
	for _, op := range w.operations() {
		for _, p := range op.Parameters {
			id, ok := foreign[p.Name]
			if !ok || p.In != "query" {
				continue
			}
			theirs, missing := w.request(t, op, "other"), w.request(t, op, "other")
			theirs.query.Set(p.Name, id)
			missing.query.Set(p.Name, strings.Replace(id, strings.TrimPrefix(id, "device:"), missingID, 1))
			if p.Name == "device_ids" { // needs two
				theirs.query.Set(p.Name, id+","+w.mate)
				missing.query.Set(p.Name, missingID+","+w.device)
			}
			check(op, p.Name, theirs, missing)
		}
		for place, with := range w.places(op) {
			id, ok := foreign[strings.TrimSuffix(place[strings.LastIndexByte(place, '.')+1:], "[0]")]
			if !ok {
				continue
			}
			theirs, missing := w.request(t, op, "other"), w.request(t, op, "other")
			theirs.body, missing.body = with(id), with(missingID)
			check(op, place, theirs, missing)
		}
	}
	t.Logf("%d pairs compared", compared)
	if compared < 8 {
		t.Error("the document has hardly any id in queries and bodies: the test lost its targets")
	}
}

// What a client may not set cannot be slipped in: a field that the document does not name is refused.
func TestFieldsOfTheServerAreRefusedInBodies(t *testing.T) {
	t.Parallel()
	town := newFixture(t, apitest.Embedded)
	tried := 0
	for _, op := range town.operations() {
		if op.RequestBody == nil || strings.HasPrefix(op.OperationID, "update-twin-") { // a twin has any members
			continue
		}
		body := town.doc.resolve(op.RequestBody.Content["application/json"].Schema)
		for _, field := range []string{"role", "owner_id", "id", "user_id", "disabled", "version", "created_at", "is_admin", "password_hash"} {
			if _, documented := body.Properties[field]; documented || !body.is("object") {
				continue
			}
			caller := "owner"
			switch {
			case strings.Contains(op.path, "/organizations/"):
				caller = "o.owner"
			case strings.Contains(op.path, "/users/{"), strings.Contains(op.path, "/integrations"):
				caller = "admin"
			}
			request := town.request(t, op, caller)
			request.body = with(request.body, field, "admin")
			tried++
			if got := town.send(t, op, caller, request); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "body."+field) {
				t.Errorf("%s with %s: %d %s", op.OperationID, field, got.status, got.body)
			}
		}
	}
	t.Logf("%d fields tried", tried)
	if tried < 50 {
		t.Error("the document has hardly any body: the test lost its targets")
	}
}

// Totals count what is not listed, so they must not cross owners either.
func (w *fixture) compareFigures(t *testing.T) {
	figures := func(caller string) map[string]float64 {
		out := map[string]float64{}
		for _, path := range []string{
			"/api/v1/analytics/dashboard?range=24h", "/api/v1/analytics/trends?range=24h&interval=hour", "/api/v1/analytics/events?range=24h",
			"/api/v1/analytics/realtime", "/api/v1/devices?count=true", "/api/v1/organizations?count=true",
		} {
			addNumbers(out, path, w.get(t, caller, path))
		}
		return out
	}
	for place, n := range figures("other") {
		if n != 0 {
			t.Errorf("a stranger sees %s = %v", place, n)
		}
	}
	for _, caller := range []string{"owner", "o.viewer", "admin"} {
		seen := 0
		for _, n := range figures(caller) {
			if n != 0 {
				seen++
			}
		}
		if seen < 8 {
			t.Errorf("%s sees %d figures: the test can tell nothing", caller, seen)
		}
	}
}

// addNumbers collects the numbers of a JSON value by their place.
func addNumbers(out map[string]float64, place string, v any) {
	switch v := v.(type) {
	case float64:
		out[place] = v
	case map[string]any:
		for name, value := range v {
			addNumbers(out, place+"."+name, value)
		}
	case []any:
		for i, value := range v {
			addNumbers(out, fmt.Sprintf("%s[%d]", place, i), value)
		}
	}
}
