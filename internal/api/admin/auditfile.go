package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
	"hearth/internal/core/audit"
	"hearth/internal/core/exports"
)

// The forms of an exported audit.
const (
	AuditCSV    = "csv"
	AuditNDJSON = "ndjson"
)

// AuditHeader are the columns of the CSV; changes are JSON.
const AuditHeader = "seq,at,actor_id,action,target,result,ip,user_agent,request_id,changes,prev_hash,hash\r\n"

// WriteAudit writes entries as they come: as CSV by RFC 4180, in which no text is a formula, or as NDJSON, each line an
// AuditEntry. It holds no more than one entry and a buffer at a time, and stops at the first error of either side.
func WriteAudit(w io.Writer, format string, entries iter.Seq2[hearth.AuditEntry, error]) error {
	out := bufio.NewWriterSize(w, 32<<10)
	appendEntry := appendAuditJSON
	switch format {
	case AuditCSV:
		appendEntry = appendAuditCSV
		if _, err := out.WriteString(AuditHeader); err != nil {
			return err
		}
	case AuditNDJSON:
	default:
		return hearth.Invalid(hearth.FieldError{Location: "query.format", Message: "must be csv or ndjson"})
	}
	var line []byte
	for entry, err := range entries {
		if err != nil {
			return err
		}
		if line, err = appendEntry(line[:0], entry); err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

func appendAuditJSON(line []byte, e hearth.AuditEntry) ([]byte, error) {
	data, err := json.Marshal(wireAudit(e))
	if err != nil {
		return nil, fmt.Errorf("encode audit entry %d: %w", e.Seq, err)
	}
	return append(append(line, data...), '\n'), nil
}

func appendAuditCSV(line []byte, e hearth.AuditEntry) ([]byte, error) {
	changes, err := json.Marshal(wireAudit(e).Changes)
	if err != nil {
		return nil, fmt.Errorf("encode the changes of audit entry %d: %w", e.Seq, err)
	}
	line = strconv.AppendInt(line, e.Seq, 10)
	line = append(line, ',')
	line = e.At.UTC().AppendFormat(line, "2006-01-02T15:04:05.000Z")
	for _, text := range []string{
		e.ActorID, e.Action, e.Target, e.Result, e.IP, e.UserAgent, e.RequestID, string(changes), e.PrevHash, e.Hash,
	} {
		line = append(line, ',')
		line = exports.AppendCSVText(line, text)
	}
	return append(line, '\r', '\n'), nil
}

// exportAuditInput are the parameters of an exported audit.
func exportAuditInput(query func(name string) string) (in listAuditInput, format string, err error) {
	in.ActorID, in.Action, in.Target = query("actor_id"), query("action"), query("target")
	in.Params = timerange.Params{Range: query("range"), From: query("from"), To: query("to")}
	if format = query("format"); format == "" {
		format = AuditCSV
	}
	var wrong []hearth.FieldError
	if format != AuditCSV && format != AuditNDJSON {
		wrong = append(wrong, hearth.FieldError{Location: "query.format", Message: "must be csv or ndjson"})
	}
	for name, value := range map[string]string{"actor_id": in.ActorID, "action": in.Action, "target": in.Target} {
		if len(value) > maxAuditFilter {
			wrong = append(wrong, hearth.FieldError{Location: "query." + name, Message: fmt.Sprintf("has more than %d characters", maxAuditFilter)})
		}
	}
	if len(wrong) > 0 {
		return in, format, hearth.Invalid(wrong...)
	}
	return in, format, nil
}

// maxAuditFilter bounds a filter, as listAuditInput says too.
const maxAuditFilter = 128

func (a *administration) registerAuditFile(s *audit.Service) {
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "export-audit", Method: http.MethodGet, Path: "/admin/audit/export", Tag: tagAdministration,
		Access: rest.ForAdmins, Key: rest.ClosedToKeys, Class: rest.ClassExports,
		Plain: true, Codes: []hearth.Code{hearth.CodeStorageFull},
		Summary: "Download who did what to which object",
		Description: "All entries that the filters leave, the newest first, as they are read: CSV (RFC 4180; a text that a spreadsheet would run " +
			"as a formula is made harmless; `changes` is JSON) or NDJSON with the fields of the list. Where the connection breaks off without the " +
			"end of the body, something is missing. The download is itself an entry, `audit.export`.",
	}, func(doc *huma.Operation) {
		str := func(longest int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &longest} }
		stamp := &huma.Schema{Type: huma.TypeString, Format: "date-time"}
		for _, p := range []huma.Param{
			{Name: "format", Description: "Default csv.", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{AuditCSV, AuditNDJSON}}, Example: AuditCSV},
			{Name: "actor_id", Description: "Only what this actor did: a user's id, or user:ID, device:ID, system, cli.", Schema: str(maxAuditFilter), Example: "system"},
			{Name: "action", Description: "Only this action.", Schema: str(maxAuditFilter), Example: "device.delete"},
			{Name: "target", Description: "Only what was done to this object: its id, or kind:ID.", Schema: str(maxAuditFilter), Example: "device:0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"},
			{Name: "range", Description: "The time up to now. Not together with from or to.", Schema: str(32), Example: "30d"},
			{Name: "from", Description: "Start of the range, inclusive (RFC 3339).", Schema: stamp, Example: "2026-03-01T00:00:00.000Z"},
			{Name: "to", Description: "End of the range, exclusive (RFC 3339).", Schema: stamp, Example: "2026-03-02T00:00:00.000Z"},
		} {
			p.In = "query"
			doc.Parameters = append(doc.Parameters, &p)
		}
		file := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		doc.Responses["200"] = &huma.Response{
			Description: "The entries", Content: map[string]*huma.MediaType{"text/csv": file, "application/x-ndjson": file},
			Headers: map[string]*huma.Param{
				"Content-Disposition": {Description: "attachment, with a file's name.", Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}
	}, func(w http.ResponseWriter, r *http.Request) error { return a.exportAudit(s, w, r) })
}

// exportAudit answers with a problem as long as nothing is sent; after that it cuts the connection, so that no client takes
// a part for the whole.
func (a *administration) exportAudit(s *audit.Service, w http.ResponseWriter, r *http.Request) error {
	in, format, err := exportAuditInput(r.URL.Query().Get)
	if err != nil {
		return err
	}
	now := a.Now()
	filter, err := in.filter(now)
	if err != nil {
		return err
	}
	entries, err := s.Export(r.Context(), rest.CallerOf(r.Context()), filter, now)
	if err != nil {
		return err
	}
	out := &auditWriter{ResponseWriter: w, control: http.NewResponseController(w), format: format, at: now}
	if err := WriteAudit(out, format, entries); err != nil {
		if !out.begun {
			return err
		}
		if r.Context().Err() == nil { // a client that has gone is no fault
			rest.RequestOf(r.Context()).Err = err
		}
		panic(http.ErrAbortHandler)
	}
	out.begin()
	return nil
}

// auditWriter sends the answer's head with the first piece, and moves the deadline on with every one.
type auditWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	format  string
	at      time.Time
	begun   bool
}

func (w *auditWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	media := "text/csv; charset=utf-8"
	if w.format == AuditNDJSON {
		media = "application/x-ndjson"
	}
	header := w.Header()
	header.Set("Content-Type", media)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{
		"filename": "audit-" + w.at.UTC().Format("20060102T150405Z") + "." + w.format,
	}))
	w.WriteHeader(http.StatusOK)
}

// Write sends one piece.
func (w *auditWriter) Write(p []byte) (int, error) {
	w.begin()
	rest.KeepSending(w.control)
	return w.ResponseWriter.Write(p)
}
