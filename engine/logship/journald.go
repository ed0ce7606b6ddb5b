package logship

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lighter/store/logfile"
)

// journalSocket is where journald takes entries.
var journalSocket = "/run/systemd/journal/socket"

// journald writes the journal's native protocol: a datagram an entry, each field as
// NAME=value, or, when the value has several lines, as NAME, newline, length, value.
type journald struct {
	stream  stream
	fixed   []byte // the fields that every entry has
	ordinal uint64
	buf     []byte
}

func openJournald(ctx context.Context, i *Info) (sender, error) {
	j := &journald{stream: stream{network: "unixgram", address: journalSocket}}
	if _, err := os.Stat(journalSocket); err != nil {
		return nil, errors.New("journald is not enabled on this host")
	}
	tag, err := i.Tag(idTag)
	if err != nil {
		return nil, err
	}
	attrs, err := i.ExtraAttributes(journalKey)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{
		"CONTAINER_ID": i.ID(), "CONTAINER_ID_FULL": i.ContainerID, "CONTAINER_NAME": i.Name(), "CONTAINER_TAG": tag,
		"IMAGE_NAME": i.ImageName(), "SYSLOG_IDENTIFIER": tag, "CONTAINER_LOG_EPOCH": strings.ToLower(rand.Text()),
	}
	maps.Copy(fields, attrs)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if k != "" {
			j.fixed = journalField(j.fixed, k, []byte(fields[k]))
		}
	}
	return j, j.stream.dial(ctx)
}

// journalKey makes a name that the journal takes: capitals, digits and underscores, of
// which none stands first.
func journalKey(s string) string {
	var b strings.Builder
	for _, r := range strings.ToUpper(s) {
		if (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			r = '_'
		}
		if r != '_' || b.Len() > 0 {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func journalField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	if bytes.IndexByte(value, '\n') < 0 {
		return append(append(append(dst, '='), value...), '\n')
	}
	dst = binary.LittleEndian.AppendUint64(append(dst, '\n'), uint64(len(value)))
	return append(append(dst, value...), '\n')
}

func (j *journald) send(ctx context.Context, m *message) error {
	severity := severityInfo
	if m.stream == logfile.Stderr {
		severity = severityErr
	}
	j.ordinal++
	b := append(j.buf[:0], j.fixed...)
	b = journalField(b, "PRIORITY", strconv.AppendInt(nil, int64(severity), 10))
	b = journalField(b, "MESSAGE", m.line)
	b = journalField(b, "SYSLOG_TIMESTAMP", []byte(m.at.Format(time.RFC3339Nano)))
	b = journalField(b, "CONTAINER_LOG_ORDINAL", strconv.AppendUint(nil, j.ordinal, 10))
	if p := m.part; p != nil {
		b = journalField(b, "CONTAINER_PARTIAL_ID", []byte(p.id))
		b = journalField(b, "CONTAINER_PARTIAL_ORDINAL", strconv.AppendInt(nil, int64(p.ordinal), 10))
		b = journalField(b, "CONTAINER_PARTIAL_LAST", strconv.AppendBool(nil, p.last))
		if !p.last {
			b = journalField(b, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
		}
	}
	j.buf = b
	return j.stream.write(ctx, b)
}

func (j *journald) close() error { return j.stream.close() }
