package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"hearth"
)

// translate turns a driver's error into one of ours, once, by its code. Ours, *hearth.Replayed and context errors pass.
func translate(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*hearth.Error](err); ok {
		return err
	}
	failure, ok := errors.AsType[*driver.Error](err)
	if !ok {
		if errors.Is(err, sql.ErrConnDone) {
			return unavailable(err)
		}
		return err
	}
	switch failure.Code() & 0xff {
	case lib.SQLITE_FULL:
		return &hearth.Error{
			Code: hearth.CodeStorageFull, Message: "the store has no space left", RetryAfter: 5 * time.Second, Cause: err,
		}
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY:
		return unavailable(err)
	case lib.SQLITE_INTERRUPT:
		return context.Canceled
	}
	return err
}

func unavailable(err error) error {
	return &hearth.Error{
		Code: hearth.CodeUnavailable, Message: "the store cannot be used right now", RetryAfter: time.Second, Cause: err,
	}
}

// isUnique reports whether err is the violation of a unique index or primary key.
func isUnique(err error) bool {
	failure, ok := errors.AsType[*driver.Error](err)
	return ok && (failure.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || failure.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isSerialTaken reports whether err says that two devices of a scope would have one serial.
func isSerialTaken(err error) bool {
	return isUnique(err) && strings.Contains(err.Error(), "devices.serial")
}

// found turns the absence of a row into CodeNotFound for that kind of object.
func found(err error, kind string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return hearth.NotFound(kind)
	}
	return err
}

// millis returns the stored form of a time: Unix milliseconds; 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis reads the stored form back.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
