package logship

import (
	"fmt"
	"os"
	"time"

	"lighter/store/logfile"
)

// mark is the file that says how far a log was sent: see logfile.ReadMark. It is written
// behind each record, and never synced: after a power cut some are sent again.
type mark struct {
	file *os.File
	at   time.Time // of the newest record that was sent; zero for none
}

func openMark(path string) (*mark, error) {
	at, err := logfile.ReadMark(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("note how far a log was sent: %w", err)
	}
	return &mark{file: f, at: at}, nil
}

func (m *mark) set(at time.Time) error {
	m.at = at
	_, err := m.file.WriteAt(logfile.AppendMark(nil, at), 0)
	return err
}

// next is the time of the first record that was not sent.
func (m *mark) next() time.Time {
	if m.at.IsZero() {
		return m.at
	}
	return m.at.Add(1)
}
