package api

import (
	"errors"
	"fmt"
)

// Kind is what went wrong, for programs; the text beside it is for people.
type Kind int

// The kinds of error, as the Engine API tells them apart.
const (
	Internal Kind = iota
	Invalid
	Unauthorized
	Forbidden
	NotFound
	Conflict
	NotModified
	NotImplemented
	Unavailable
	Canceled
)

// kinds is the one table from kind to HTTP status, read in both directions.
var kinds = []struct {
	kind   Kind
	status int
}{
	{Internal, 500},
	{Invalid, 400},
	{Unauthorized, 401},
	{Forbidden, 403},
	{NotFound, 404},
	{Conflict, 409},
	{NotModified, 304},
	{NotImplemented, 501},
	{Unavailable, 503},
	{Canceled, 499},
}

// Error is an error with a kind. Msg stands as it is in the answer to a client,
// in Docker's words where clients compare texts.
type Error struct {
	Kind Kind
	Msg  string
	Err  error // the cause, whose text Msg already holds; may be nil
}

func (e *Error) Error() string { return e.Msg }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a kind; %w keeps the cause.
func Errorf(kind Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf gives the kind of the outermost Error in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Status gives the HTTP status of a kind.
func (k Kind) Status() int {
	for _, row := range kinds {
		if row.kind == k {
			return row.status
		}
	}
	return 500
}

// KindOfStatus gives the kind that an HTTP status stands for.
func KindOfStatus(status int) Kind {
	for _, row := range kinds {
		if row.status == status {
			return row.kind
		}
	}
	if status >= 400 && status < 500 {
		return Invalid
	}
	return Internal
}

// ErrorBody is the JSON body of every answer that is an error.
type ErrorBody struct {
	Message string `json:"message"`
}
