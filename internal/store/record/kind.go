// Package record keeps stored aggregates, once for every store: each kind of record is described (its fields, indexes, limit and
// expiry), and each aggregate's store of the root package is written over a Backend, which a database implements once for all
// kinds. docs/adr/0013-one-description-a-record.md tells why.
//
// A kind is a Go struct whose tags name the stored fields, and a Kind that describes it:
//
//	type thing struct {
//		ID        string    `json:"id"`
//		Name      string    `json:"name"`
//		CreatedAt time.Time `json:"created_at,omitzero"`
//	}
//
//	var things = describe(&Kind[thing]{Schema: Schema{
//		Name: "things", Noun: "thing", Indexes: []Index{{Fields: []string{"created_at", "id"}}},
//	}})
//
// The name in the tag json is that of the column and of the field in an archive; a tag db names the column where the two
// differ, and a tag bson the field in MongoDB. A db of "-" keeps a field out of both stores, ",inline" stores the fields of a
// struct as the record's own. Renaming a field of the root package never changes what is stored.
package record

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"hearth"
)

// Schema is what a store knows of the records of one kind.
type Schema struct {
	// Name is the table and the collection.
	Name string
	// Noun names one record in messages, such as "export".
	Noun string
	// ID lists the fields that identify a record, texts or one of bytes; nil is "id".
	ID []string
	// Indexes serve the queries; those of a store that hold the identity come by themselves.
	Indexes []Index
	// Limit bounds the records of an owner; nil bounds none.
	Limit *Limit
	// Claim, if set, is a text field that no two records may have in common, and that may change.
	Claim *Claim
	// Loose marks records that take part in steps as notes alone (see Tx.Note).
	Loose bool
	// Expires is set if records of the kind expire.
	Expires bool
	// View is set for records that the stores write by hand and that are only read through the description: it names the table or
	// view that SQLite reads them from.
	View string
	// Shared marks records that are kept where instances share a database, and in no archive.
	Shared bool
	// Of names the kinds that the records hang on, by the field that holds the identity: a record of what an archive does not have
	// is left out of it.
	Of map[string]string
	// Search lists the text fields that Matches searches in.
	Search []string
	// Hidden is a field that marks records which are not there any more, in MongoDB.
	Hidden string
	// Taken is the error of an insertion whose identity or claim is taken; nil is CodeConflict.
	Taken func() error

	fields   []Field
	expires  func(any) time.Time
	stored   reflect.Type
	archived func(ctx context.Context, r Reader, records []any) ([]any, error)
	restored func(ctx context.Context, tx Tx, records []any) error
}

// Index is an index over fields, ascending.
type Index struct {
	Fields []string
	// Unique refuses a second record with the same fields.
	Unique bool
	// While picks the records that SQLite has in it, so that writes of others cost nothing; nil picks all. Only a query that has these
	// conditions can use it. In MongoDB it has all.
	While Filter
}

// IsOfIndex reports whether an index has only records for which the condition holds.
func (s *Schema) IsOfIndex(c Condition) bool {
	for _, i := range s.Indexes {
		for _, w := range i.While {
			if c.Op == w.Op && c.Field == w.Field && c.Value == w.Value {
				return true
			}
		}
	}
	return false
}

// Limit bounds how many records of one owner there are.
type Limit struct {
	// By is the field that names the owner.
	By string
	// While picks the records that count; nil picks all. It is made of Eq and In.
	While Filter
	Most  int
	// Full is the error of an insertion beyond it.
	Full func() error
}

// Claim is a field that is unique.
type Claim struct {
	Field string
	// Collection holds the claimed values in MongoDB, where a document can be locked before it takes a value.
	Collection string
	// By is the name that the claim's document has for the record's identity.
	By string
}

// Kind describes the records that are stored as T.
type Kind[T any] struct {
	Schema
	// ExpiresAt says when a record may go for good even if no clean-up runs; zero never.
	ExpiresAt func(*T) time.Time
	// Archived completes records for an archive; it may leave some out. Restored completes the records of an archive before they
	// are stored. Nil does nothing.
	Archived func(ctx context.Context, r Reader, records []*T) ([]*T, error)
	Restored func(ctx context.Context, tx Tx, records []*T) error
}

// describe completes a description. It panics for one that cannot be.
func describe[T any](k *Kind[T]) *Kind[T] {
	if k.ExpiresAt != nil {
		k.expires = expires(k.ExpiresAt)
	}
	if k.Archived != nil {
		k.archived = archived(k.Archived)
	}
	if k.Restored != nil {
		k.restored = restored(k.Restored)
	}
	k.complete(reflect.TypeFor[T]())
	return k
}

// complete makes what follows from a description of records that are stored as that struct.
func (s *Schema) complete(stored reflect.Type) {
	if s.ID == nil {
		s.ID = []string{"id"}
	}
	s.fields = fieldsOf(stored, nil)
	if len(s.Search) > 0 {
		s.fields = append(s.fields, s.search(s.Search))
	}
	s.Expires = s.Expires || s.expires != nil
	s.stored = stored
	for _, name := range s.named() {
		s.Field(name)
	}
}

// What follows takes functions of pointers to stored structs as functions of any. Pointers, since the compiler makes code that is generic
// over these once for all of them.

func expires[P any](at func(P) time.Time) func(any) time.Time {
	return func(r any) time.Time { return at(r.(P)) } //nolint:forcetypeassert // records of the kind are Ps
}

func archived[P any](complete func(context.Context, Reader, []P) ([]P, error)) func(context.Context, Reader, []any) ([]any, error) {
	return func(ctx context.Context, r Reader, records []any) ([]any, error) {
		kept, err := complete(ctx, r, typed[P](records))
		all := make([]any, len(kept))
		for i, k := range kept {
			all[i] = k
		}
		return all, err
	}
}

func restored[P any](complete func(context.Context, Tx, []P) error) func(context.Context, Tx, []any) error {
	return func(ctx context.Context, tx Tx, records []any) error { return complete(ctx, tx, typed[P](records)) }
}

func typed[P any](records []any) []P {
	all := make([]P, len(records))
	for i, r := range records {
		all[i] = r.(P) //nolint:forcetypeassert // records of the kind are Ps
	}
	return all
}

// named returns the fields that the description speaks of.
func (s *Schema) named() []string {
	names := slices.Clone(s.ID)
	for _, i := range s.Indexes {
		names = append(names, i.Fields...)
	}
	if s.Limit != nil {
		names = append(names, s.Limit.By)
	}
	if s.Claim != nil {
		names = append(names, s.Claim.Field)
	}
	for field := range s.Of {
		names = append(names, field)
	}
	return names
}

// Field returns the field with that name. It panics if there is none, which a description's author sees at once.
func (s *Schema) Field(name string) *Field {
	for i := range s.fields {
		if s.fields[i].Name == name {
			return &s.fields[i]
		}
	}
	panic(fmt.Sprintf("record: %s has no field %s", s.Name, name))
}

// Fields returns all fields.
func (s *Schema) Fields() []Field { return s.fields }

// IDOf returns the identity of a record, which is a pointer to its struct.
func (s *Schema) IDOf(record any) []any {
	id := make([]any, len(s.ID))
	for i, name := range s.ID {
		id[i] = s.Field(name).Get(record)
	}
	return id
}

// TakenError is the error of an insertion whose identity is taken.
func (s *Schema) TakenError() error {
	if s.Taken != nil {
		return s.Taken()
	}
	return hearth.Errorf(hearth.CodeConflict, "there is %s %s with that id", article(s.Noun), s.Noun)
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}

// Table returns what SQLite reads the records from.
func (s *Schema) Table() string {
	if s.View != "" {
		return s.View
	}
	return s.Name
}

// NotFound is CodeNotFound for a record of the kind.
func (s *Schema) NotFound() error { return hearth.NotFound(s.Noun) }

// FoundIf is NotFound unless the record that was read is one of those that were asked for.
func (s *Schema) FoundIf(asked bool) error {
	if asked {
		return nil
	}
	return s.NotFound()
}

// ExpiryOf returns when the record may go for good; zero never.
func (s *Schema) ExpiryOf(record any) time.Time {
	if s.expires == nil {
		return time.Time{}
	}
	return s.expires(record)
}

// Fresh returns a pointer to an empty record.
func (s *Schema) Fresh() any { return reflect.New(s.stored).Interface() }

// Archived completes records for an archive; it may leave some out.
func (s *Schema) Archived(ctx context.Context, r Reader, records []any) ([]any, error) {
	if s.archived == nil {
		return records, nil
	}
	return s.archived(ctx, r, records)
}

// Restored completes archived records of a kind before they are stored.
func (s *Schema) Restored(ctx context.Context, tx Tx, records []any) error {
	if s.restored == nil {
		return nil
	}
	return s.restored(ctx, tx, records)
}

// RestoredInSteps reports whether Restored changes other records.
func (s *Schema) RestoredInSteps() bool { return s.restored != nil }

// Type is how a field is stored.
type Type int

// The types. A Moment is Unix milliseconds, 0 for the zero time; an OpenMoment is nothing for the zero time, so that 1970 is a
// time like any other. A Document is what a store encodes as it likes: JSON or BSON.
const (
	Text Type = iota
	Number
	Flag
	Bytes
	Moment
	OpenMoment
	Document
)

// Field is a stored field.
type Field struct {
	// Name is the column's.
	Name string
	// BSON is the name in MongoDB. One with a dot is part of another field there: it is read and never written.
	BSON string
	Type Type

	// derive, if set, makes the value of a field that stands in no struct.
	derive func(record any) any
	path   []int
	// pointer reports whether the path leads through a pointer, which is nil while all its fields are zero.
	pointer bool
}

var timeType = reflect.TypeFor[time.Time]()

func fieldsOf(t reflect.Type, path []int) (fields []Field) {
	for i := range t.NumField() {
		f := t.Field(i)
		inner := append(slices.Clone(path), i)
		name, options, _ := strings.Cut(f.Tag.Get("db"), ",")
		switch {
		case name == "-":
			continue
		case options == "inline" && f.Type.Kind() == reflect.Pointer:
			for _, part := range fieldsOf(f.Type.Elem(), inner) {
				part.pointer = true
				fields = append(fields, part)
			}
			continue
		case options == "inline":
			fields = append(fields, fieldsOf(f.Type, inner)...)
			continue
		case name == "":
			name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
		}
		field := Field{Name: name, BSON: f.Tag.Get("bson"), Type: typeOf(f.Type), path: inner}
		field.BSON = cmp.Or(field.BSON, name)
		if options == "open" {
			field.Type = OpenMoment
		}
		if name == "" {
			panic(fmt.Sprintf("record: %v.%s has no name", t, f.Name))
		}
		fields = append(fields, field)
	}
	return fields
}

func typeOf(t reflect.Type) Type {
	switch {
	case t == timeType:
		return Moment
	case t.Kind() == reflect.String:
		return Text
	case t.Kind() == reflect.Bool:
		return Flag
	case reflect.Int <= t.Kind() && t.Kind() <= reflect.Uint64:
		return Number
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return Bytes
	}
	return Document
}

// value returns the field of a record; ok is false inside of a nil pointer.
func (f *Field) value(record any, grow bool) (v reflect.Value, ok bool) {
	v = reflect.ValueOf(record).Elem()
	for _, i := range f.path {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !grow {
					return v, false
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

// Get returns the field of a record as a store keeps it: a string, int64, bool, []byte, or nil for an open moment without
// time; of a document the Go value.
func (f *Field) Get(record any) any {
	if f.derive != nil {
		return f.derive(record)
	}
	v, ok := f.value(record, false)
	if !ok {
		return f.zero()
	}
	return f.plain(v)
}

func (f *Field) zero() any {
	switch f.Type {
	case Text:
		return ""
	case Number, Moment:
		return int64(0)
	case Flag:
		return false
	case Bytes:
		return []byte(nil)
	}
	return nil
}

func (f *Field) plain(v reflect.Value) any {
	switch f.Type {
	case Text:
		return v.String()
	case Number:
		if v.CanUint() {
			return int64(v.Uint())
		}
		return v.Int()
	case Flag:
		return v.Bool()
	case Bytes:
		return v.Bytes()
	case Moment, OpenMoment:
		at := *v.Addr().Interface().(*time.Time) //nolint:forcetypeassert // the field's type says so
		switch {
		case !at.IsZero():
			return at.UnixMilli()
		case f.Type == OpenMoment:
			return nil
		}
		return int64(0)
	}
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	return v.Interface()
}

// Put sets the field of a record to what Get returned; not for documents, whose Into a store decodes into.
func (f *Field) Put(record, value any) {
	if value == nil || f.derive != nil || f.pointer && reflect.ValueOf(value).IsZero() {
		return
	}
	v, _ := f.value(record, true)
	switch value := value.(type) {
	case string:
		v.SetString(value)
	case int64:
		switch {
		case f.Type == Moment && value == 0:
		case f.Type == Moment || f.Type == OpenMoment:
			*v.Addr().Interface().(*time.Time) = time.UnixMilli(value).UTC() //nolint:forcetypeassert // the field's type says so
		case v.CanUint():
			v.SetUint(uint64(value))
		default:
			v.SetInt(value)
		}
	case bool:
		v.SetBool(value)
	case []byte:
		v.SetBytes(value)
	}
}

// Into returns a pointer to the field of a record, to decode into.
func (f *Field) Into(record any) any {
	v, _ := f.value(record, true)
	return v.Addr().Interface()
}

// Schemas returns all kinds, those that others name before those others.
func Schemas() []*Schema {
	return []*Schema{
		&users.Schema, &loginTries.Schema, &passwordResets.Schema, &sessions.Schema, &refreshTokens.Schema, &organizations.Schema,
		&members.Schema, &invitations.Schema, &apiKeys.Schema, &provisioningKeys.Schema, &devices.Schema, &deviceTokens.Schema, &twins.Schema, &mqttSessions.Schema, &provisioned.Schema, &claimCodes.Schema,
		&notifications.Schema, &notificationSettings.Schema, &channels.Schema, &digests.Schema,
		&watches.Schema, &commands.Schema, &commandBatches.Schema, &rules.Schema, &alarms.Schema, &alarmWatches.Schema, &unjudged.Schema, &uptimes.Schema,
		&schedules.Schema, &exports.Schema, &webhooks.Schema, &deliveries.Schema,
		&deliveryLines.Schema, &deviceConnections.Schema, &integrations.Schema, &integrationDevices.Schema, &checkpoints.Schema, &idempotency.Schema, &outbox.Schema, &audit.Schema,
		&secrets.Schema,
	}
}

// OfDevices returns the kinds whose records go with a device, and the field of each that names it.
func OfDevices() (kinds []*Schema, fields []string) {
	for _, s := range Schemas() {
		for field, of := range s.Of {
			if of == devices.Name {
				kinds, fields = append(kinds, s), append(fields, field)
			}
		}
	}
	return kinds, fields
}
