package hearth

import (
	"errors"
	"fmt"
	"time"
)

// Code is the stable, machine-readable name of a failure. Clients match on it; it never changes its meaning.
type Code string

// The codes of the contract with clients. Each belongs to one HTTP status, which package api knows.
const (
	CodeMalformedBody        Code = "malformed_body"
	CodeUnauthenticated      Code = "unauthenticated"
	CodeTokenExpired         Code = "token_expired"
	CodeTokenRevoked         Code = "token_revoked"
	CodeRefreshReused        Code = "refresh_reused"
	CodeInvalidCredentials   Code = "invalid_credentials"
	CodeForbidden            Code = "forbidden"
	CodeNotFound             Code = "not_found"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeConflict             Code = "conflict"
	CodeEmailTaken           Code = "email_taken"
	CodeIdempotencyMismatch  Code = "idempotency_mismatch"
	CodeVersionMismatch      Code = "version_mismatch"
	CodePayloadTooLarge      Code = "payload_too_large"
	CodeURITooLong           Code = "uri_too_long"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeRangeNotSatisfiable  Code = "range_not_satisfiable"
	CodeValidationFailed     Code = "validation_failed"
	CodeAccountLocked        Code = "account_locked"
	CodeRateLimited          Code = "rate_limited"
	CodeInternal             Code = "internal"
	CodeUnavailable          Code = "unavailable"
	CodeStorageFull          Code = "storage_full"
	CodeQuotaExceeded        Code = "quota_exceeded"
)

// Error is a failure that a client may see. Message is a sentence for people and never holds a secret; Cause, if any, is
// for the log alone.
type Error struct {
	Code    Code
	Message string
	// Fields names what was wrong with the input, on CodeValidationFailed and where a serial is taken.
	Fields []FieldError
	// RetryAfter says when trying again makes sense: set on CodeAccountLocked, CodeRateLimited, CodeQuotaExceeded, CodeUnavailable and
	// CodeStorageFull, zero otherwise.
	RetryAfter time.Duration
	// Limit names the limit or the quota that was hit, on CodeRateLimited and CodeQuotaExceeded.
	Limit string
	Cause error
}

// FieldError names one wrong part of an input. Location is a path such as "body.items[3].name" or "query.limit"; the
// value itself is never repeated.
type FieldError struct {
	Location string
	Message  string
}

// Error returns the code, the message and the cause: for logs, not for clients.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes a CodeValidationFailed error about the given parts of the input.
func Invalid(fields ...FieldError) *Error {
	message := "the input is not valid"
	if len(fields) == 1 {
		message = fields[0].Location + " " + fields[0].Message
	}
	return &Error{Code: CodeValidationFailed, Message: message, Fields: fields}
}

// NotFound makes the one answer for an object that is absent and for one that belongs to somebody else, so that the two
// cannot be told apart. Kind is the object's name, such as "device".
func NotFound(kind string) *Error {
	return Errorf(CodeNotFound, "there is no such %s", kind)
}

// ErrorCode returns err's code: "" for nil, CodeInternal for an error that is not one of ours.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
