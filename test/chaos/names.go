package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// nameSuffix ends the names of the services; nobody else answers for it.
const nameSuffix = ".gateway-chaos.test"

// The codes of a name server's answer, and one for no answer at all.
const (
	nameKnown   = 0
	nameFailure = 2 // SERVFAIL: it cannot say
	nameUnknown = 3 // NXDOMAIN: there is no such name
	nameSilence = -1
)

// nameServer answers every name with this machine, while it is well. The
// processes are sent to it by an /etc/resolv.conf of their own.
type nameServer struct {
	conn net.PacketConn
	code atomic.Int32
}

// newNameServer takes the right to mount, and to listen on port 53.
func newNameServer(ctx context.Context, dir string) (*nameServer, error) {
	s := &nameServer{}
	var addr string
	var err error
	for range 5 { // somebody may have the first ones
		addr = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
		if s.conn, err = new(net.ListenConfig).ListenPacket(ctx, "udp4", net.JoinHostPort(addr, "53")); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	go s.serve()
	config := filepath.Join(dir, "resolv.conf")
	err = os.WriteFile(config, []byte("nameserver "+addr+"\n"), 0o644) //nolint:gosec // servers of other accounts read it, too
	if err == nil {
		err = mountFile(config, "/etc/resolv.conf")
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("name server: %w", err)
	}
	return s, nil
}

func (s *nameServer) close() { _ = s.conn.Close() }

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if out := nameAnswer(buf[:n], s.code.Load()); out != nil {
			_, _ = s.conn.WriteTo(out, from) // who does not get it asks again
		}
	}
}

// nameAnswer answers a query (RFC 1035, 4.1) of one question: an address for
// type A, nothing for others.
func nameAnswer(query []byte, code int32) []byte {
	const header, typeA, classIN = 12, 1, 1
	if code == nameSilence || len(query) < header+5 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return nil
	}
	end, name := header, []string{}
	for end < len(query) && query[end] != 0 {
		next := end + 1 + int(query[end])
		if next > len(query) {
			return nil
		}
		name = append(name, string(query[end+1:next]))
		end = next
	}
	if end += 5; end > len(query) {
		return nil
	}
	if !strings.HasSuffix("."+strings.ToLower(strings.Join(name, ".")), nameSuffix) {
		code = nameUnknown
	}
	kind := binary.BigEndian.Uint16(query[end-4:])
	out := append([]byte(nil), query[:end]...)
	binary.BigEndian.PutUint16(out[2:], 0x8580|uint16(code)) // a response of one who knows
	clear(out[6:header])
	if code == nameKnown && kind == typeA {
		out[7] = 1
		out = append(out, 0xc0, header, 0, typeA, 0, classIN, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1) // for no second longer
	}
	return out
}

// named is the address of a link with a name instead of the number, where there
// is a name server.
func (r *run) named(service, addr string) string {
	if r.names == nil {
		return addr
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err) // it is one of ours
	}
	return net.JoinHostPort(service+nameSuffix, port)
}

// noNames has the name server fail while everyone has to connect anew.
func noNames(how string, d time.Duration) fault {
	code := map[string]int32{"unknown": nameUnknown, "failures": nameFailure, "not answered": nameSilence}[how]
	return fault{"names are " + how, d, func(ctx context.Context, r *run) (string, error) {
		if r.names == nil {
			return "", &notRunError{r.noNames.Error()}
		}
		r.names.code.Store(code)
		defer r.names.code.Store(nameKnown)
		var err error
		for _, service := range serviceNames {
			links := r.links.of(service, "")
			cut(links)
			err = errors.Join(err, mend(links))
		}
		return seconds(d), errors.Join(err, sleep(ctx, d))
	}}
}
