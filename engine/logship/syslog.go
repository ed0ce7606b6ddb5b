package logship

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"lighter/store/logfile"
)

const overTLS = "tcp+tls"

// facilities, in the order of their numbers.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// The severities of the two streams.
const (
	severityErr  = 3
	severityInfo = 6
)

// syslogFormats writes what stands before the message: priority, time, host, tag, pid.
var syslogFormats = map[string]func(pri int, at time.Time, host, tag string, pid int) string{
	"": func(pri int, at time.Time, _, tag string, pid int) string {
		return fmt.Sprintf("<%d>%s %s[%d]: ", pri, at.Format(time.Stamp), tag, pid)
	},
	"rfc3164": func(pri int, at time.Time, host, tag string, pid int) string {
		return fmt.Sprintf("<%d>%s %s %s[%d]: ", pri, at.Format(time.Stamp), host, tag, pid)
	},
	"rfc5424": func(pri int, at time.Time, host, tag string, pid int) string {
		return fmt.Sprintf("<%d>1 %s %s %s %d %s - ", pri, at.Format(time.RFC3339), host, tag, pid, tag)
	},
	"rfc5424micro": func(pri int, at time.Time, host, tag string, pid int) string {
		return fmt.Sprintf("<%d>1 %s %s %s %d %s - ", pri, at.Format("2006-01-02T15:04:05.000000Z07:00"), host, tag, pid, tag)
	},
}

type syslog struct {
	stream   stream
	local    bool // look for the host's own socket
	facility int
	format   string
	host     string
	tag      string
	buf      []byte
}

func checkSyslog(config map[string]string) error {
	if _, _, err := syslogAddress(config["syslog-address"]); err != nil {
		return err
	}
	if _, err := syslogFacility(config["syslog-facility"]); err != nil {
		return err
	}
	if syslogFormats[config["syslog-format"]] == nil {
		return errors.New("Invalid syslog format")
	}
	return nil
}

func syslogAddress(address string) (network, target string, err error) {
	if address == "" {
		return "", "", nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", "", err
	}
	switch u.Scheme {
	case "unix", "unixgram":
		_, err := os.Stat(u.Path)
		return u.Scheme, u.Path, err
	case "udp", "tcp", overTLS:
	default:
		return "", "", fmt.Errorf("unsupported scheme: '%s'", u.Scheme)
	}
	host := u.Host
	if _, _, err := net.SplitHostPort(host); err != nil {
		if !strings.Contains(err.Error(), "missing port in address") {
			return "", "", err
		}
		host = net.JoinHostPort(host, "514")
	}
	return u.Scheme, host, nil
}

func syslogFacility(name string) (int, error) {
	if name == "" {
		name = "daemon"
	}
	for n, f := range facilities {
		if f == name {
			return n, nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(facilities) {
		return n, nil
	}
	return 0, errors.New("invalid syslog facility")
}

func openSyslog(ctx context.Context, i *Info) (sender, error) {
	s := &syslog{format: i.Config["syslog-format"]}
	var err error
	if s.tag, err = i.Tag(idTag); err != nil {
		return nil, err
	}
	if s.stream.network, s.stream.address, err = syslogAddress(i.Config["syslog-address"]); err != nil {
		return nil, err
	}
	if s.facility, err = syslogFacility(i.Config["syslog-facility"]); err != nil {
		return nil, err
	}
	if s.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	if s.stream.network == overTLS {
		s.stream.network = "tcp"
		if s.stream.tls, err = syslogTLS(i.Config); err != nil {
			return nil, err
		}
	}
	s.local = s.stream.network == ""
	return s, s.dial(ctx)
}

// dial reaches the server, or whichever socket the host's own one listens on.
func (s *syslog) dial(ctx context.Context) error {
	if !s.local {
		return s.stream.dial(ctx)
	}
	for _, network := range []string{"unixgram", "unix"} {
		for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
			s.stream.network, s.stream.address = network, path
			if s.stream.dial(ctx) == nil {
				return nil
			}
		}
	}
	return errors.New("Unix syslog delivery error")
}

func syslogTLS(config map[string]string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	_, c.InsecureSkipVerify = config["syslog-tls-skip-verify"]
	if file := config["syslog-tls-ca-cert"]; file != "" && !c.InsecureSkipVerify {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("could not read CA certificate %q: %w", file, err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("failed to append certificates from PEM file: %q", file)
		}
	}
	cert, key := config["syslog-tls-cert"], config["syslog-tls-key"]
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s *syslog) send(ctx context.Context, m *message) error {
	if len(m.line) == 0 {
		return nil
	}
	severity := severityInfo
	if m.stream == logfile.Stderr {
		severity = severityErr
	}
	s.buf = append(s.buf[:0], syslogFormats[s.format](s.facility<<3|severity, m.at.Local(), s.host, s.tag, os.Getpid())...)
	s.buf = append(append(s.buf, m.line...), '\n')
	out := s.buf
	if s.stream.tls != nil && strings.HasPrefix(s.format, "rfc5424") { // RFC 5425 counts instead
		out = append(append(strconv.AppendInt(nil, int64(len(s.buf)), 10), ' '), s.buf...)
	}
	if s.stream.conn == nil {
		if err := s.dial(ctx); err != nil {
			return err
		}
	}
	err := s.stream.write(ctx, out)
	if err != nil && s.stream.network == "udp" {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

func (s *syslog) close() error { return s.stream.close() }
