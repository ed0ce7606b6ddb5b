package net

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Chain is a chain of the packet filter that somebody made.
type Chain struct{ Family, Table, Name string }

var families = map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}

// Dropping lists the chains, but for those of one table, that drop by their policy
// whatever is forwarded and they have no rule for. No accept elsewhere can overrule them.
func (c *Conn) Dropping(but string) (list []Chain, err error) {
	var b Batch
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, "list the packet filter's chains", head(unix.NFPROTO_UNSPEC, 0)...)
	err = c.dump(&b, func(_ uint16, body []byte) {
		if len(body) < 4 {
			return
		}
		found := Chain{Family: families[body[0]]}
		forward, drops := false, false
		attrs(body[4:], func(kind int, v []byte) {
			switch kind {
			case unix.NFTA_CHAIN_TABLE:
				found.Table = trimmed(v)
			case unix.NFTA_CHAIN_NAME:
				found.Name = trimmed(v)
			case unix.NFTA_CHAIN_POLICY:
				drops = len(v) == 4 && binary.BigEndian.Uint32(v) == verdictDrop
			case unix.NFTA_CHAIN_HOOK:
				attrs(v, func(kind int, v []byte) {
					forward = forward || kind == unix.NFTA_HOOK_HOOKNUM && len(v) == 4 && binary.BigEndian.Uint32(v) == unix.NF_INET_FORWARD
				})
			}
		})
		if forward && drops && found.Family != "" && found.Table != but {
			list = append(list, found)
		}
	})
	return list, err
}
