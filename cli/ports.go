package cli

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"lighter/api"
)

// publishList puts the long form of --publish (published=8080,target=80) into the
// short one.
func publishList(given []string) ([]string, error) {
	out := make([]string, 0, len(given))
	for _, p := range given {
		if !strings.Contains(p, "=") {
			out = append(out, p)
			continue
		}
		fields := map[string]string{"protocol": "tcp"}
		for field := range strings.SplitSeq(p, ",") {
			k, v, ok := strings.Cut(field, "=")
			if !ok || k == "" {
				return nil, fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", field)
			}
			fields[k] = v
		}
		out = append(out, fields["published"]+":"+fields["target"]+"/"+fields["protocol"])
	}
	return out, nil
}

// publishedPorts reads [[ip:]host:]container[/proto], each of the ports perhaps a range.
func publishedPorts(given []string) (map[string]struct{}, map[string][]api.PortBinding, error) {
	ports, bindings := map[string]struct{}{}, map[string][]api.PortBinding{}
	for _, spec := range given {
		if err := publishPort(spec, ports, bindings); err != nil {
			return nil, nil, err
		}
	}
	return ports, bindings, nil
}

func publishPort(spec string, ports map[string]struct{}, bindings map[string][]api.PortBinding) error {
	parts := strings.Split(spec, ":")
	n := len(parts)
	ip, host := "", ""
	if n > 1 {
		host = parts[n-2]
		ip = strings.Join(parts[:n-2], ":")
	}
	proto, port := protoPort(parts[n-1])
	if strings.HasPrefix(ip, "[") {
		bare, _, err := net.SplitHostPort(ip + ":")
		if err != nil {
			return fmt.Errorf("invalid IP address %v: %w", ip, err)
		}
		ip = bare
	}
	if ip != "" && net.ParseIP(ip) == nil {
		return errors.New("invalid IP address: " + ip)
	}
	if port == "" {
		return fmt.Errorf("no port specified: %s<empty>", spec)
	}
	first, last, err := portRange(port)
	if err != nil {
		return errors.New("invalid containerPort: " + port)
	}
	var hostFirst, hostLast uint64
	if host != "" {
		if hostFirst, hostLast, err = portRange(host); err != nil {
			return errors.New("invalid hostPort: " + host)
		}
		if last-first != hostLast-hostFirst && last != first {
			return fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", port, host)
		}
	}
	if p := strings.ToLower(proto); p != "tcp" && p != "udp" && p != "sctp" {
		return errors.New("invalid proto: " + proto)
	}
	for i := range last - first + 1 {
		if host != "" {
			host = strconv.FormatUint(hostFirst+i, 10)
			if first == last && hostFirst != hostLast {
				host += "-" + strconv.FormatUint(hostLast, 10) // any free one of them
			}
		}
		key := strconv.FormatUint(first+i, 10) + "/" + strings.ToLower(proto)
		ports[key] = struct{}{}
		bindings[key] = append(bindings[key], api.PortBinding{HostIP: ip, HostPort: host})
	}
	return nil
}

// exposedPorts adds the ports of --expose.
func exposedPorts(given []string, ports map[string]struct{}) error {
	for _, spec := range given {
		if strings.Contains(spec, ":") {
			return fmt.Errorf("invalid port format for --expose: %s", spec)
		}
		proto, port := protoPort(spec)
		first, last, err := portRange(port)
		if err != nil {
			return fmt.Errorf("invalid range format for --expose: %s, error: %w", spec, err)
		}
		for i := first; i <= last; i++ {
			ports[strconv.FormatUint(i, 10)+"/"+proto] = struct{}{}
		}
	}
	return nil
}

// protoPort cuts port[/proto]; the protocol is tcp when none is given.
func protoPort(s string) (proto, port string) {
	parts := strings.Split(s, "/")
	switch {
	case parts[0] == "":
		return "", ""
	case len(parts) == 1 || parts[1] == "":
		return "tcp", parts[0]
	}
	return parts[1], parts[0]
}

// portRange reads first[-last].
func portRange(s string) (first, last uint64, err error) {
	if s == "" {
		return 0, 0, errors.New("empty string specified for ports")
	}
	a, b, ranged := strings.Cut(s, "-")
	if first, err = strconv.ParseUint(a, 10, 16); err != nil || !ranged {
		return first, first, err
	}
	b, _, _ = strings.Cut(b, "-")
	if last, err = strconv.ParseUint(b, 10, 16); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, errors.New("invalid range specified for port: " + s)
	}
	return first, last, nil
}
