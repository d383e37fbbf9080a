package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv/services"
)

// The names of the processes; each has links of its own.
var (
	nodeNames   = []string{"node-a", "node-b"}
	senderNames = []string{"sender-a", "sender-b"}
)

const (
	floodName = "flood"
	// originalName is the original SDK and gateway.
	originalName = "original"
	// deviceLinks are those between the devices and each node.
	deviceLinks = "devices"
)

// The names of the services.
const (
	redisService  = "redis"
	mysqlService  = "mysql"
	rabbitService = "rabbitmq"
)

var serviceNames = []string{redisService, mysqlService, rabbitService}

// run is one run of the suite. Its main goroutine starts, breaks and ends
// everything.
type run struct {
	opts  options
	dir   string
	rng   *rand.Rand // of the processes; each round of faults has its own
	began time.Time

	sup     *services.Supervisor
	servers map[string]*services.Server
	addrs   map[string]string // of the services themselves
	links   *links
	via     map[string]map[string]string // process, service: address of the link
	root    *sql.DB
	front   *tcpSwitch
	listen  map[string]string // of the nodes
	procs   map[string]*proc
	starts  map[string]int
	ledger  *ledger
	fleet   *fleet
	disk    *disk // of the tables; nil where noDisk says why
	noDisk  error
	names   *nameServer // nil where noNames says why
	noNames error

	results []result
	crowded int // of the results, those beside others that took half of the machine
	account *account
}

func newRun(o options, dir string) *run {
	return &run{
		opts: o, dir: dir, rng: rand.New(rand.NewPCG(o.seed, 0)), began: time.Now(),
		sup:   &services.Supervisor{Log: io.Discard, Durable: true},
		links: newLinks(), via: map[string]map[string]string{}, listen: map[string]string{},
		procs: map[string]*proc{}, starts: map[string]int{}, ledger: newLedger(o.users),
	}
}

// say prints a line with the time since the start.
func (r *run) say(format string, args ...any) {
	fmt.Printf("[%6.1f s] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// all is the run from start to end.
func (r *run) all(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.faults(ctx); err != nil {
		return err
	}
	return r.settle(ctx)
}

// start brings everything up.
func (r *run) start(ctx context.Context) error {
	var err error
	r.noDisk = ownMounts() // before the children, who share them
	if r.servers, err = r.sup.StartInstalled(ctx); err != nil {
		return err
	}
	if r.addrs, err = addresses(r.servers); err != nil {
		return err
	}
	if err := r.prepareDatabase(ctx); err != nil {
		return err
	}
	if r.noNames = r.noDisk; r.noNames == nil {
		r.names, r.noNames = newNameServer(ctx, r.dir)
	}
	for _, name := range slices.Concat([]string{floodName, originalName}, nodeNames, senderNames) {
		if r.via[name], err = r.links.add(name, r.addrs); err != nil {
			return err
		}
	}
	if r.front, err = newSwitch(ctx); err != nil {
		return err
	}
	for _, name := range nodeNames {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		r.listen[name] = ln.Addr().String()
		_ = ln.Close()
	}
	fronts, err := r.links.add(deviceLinks, r.listen)
	if err != nil {
		return err
	}
	r.front.set(slices.Collect(maps.Values(fronts))...)
	for _, name := range slices.Concat(nodeNames, senderNames, []string{originalName}) {
		if err := r.startProc(ctx, name); err != nil {
			return err
		}
	}
	r.fleet = startFleet(ctx, r.front.addr(), r.opts.users, r.opts.seed, r.ledger)
	r.say("up: redis, mysql, rabbitmq, %d nodes, %d senders, %d users, the original SDK and gateway", len(nodeNames), len(senderNames), r.opts.users)
	return nil
}

// addresses takes host and port out of the values of the servers.
func addresses(servers map[string]*services.Server) (map[string]string, error) {
	cfg, err := mysql.ParseDSN(servers[mysqlService].Value)
	if err != nil {
		return nil, err
	}
	uri, err := amqp.ParseURI(servers[rabbitService].Value)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		redisService: servers[redisService].Value, mysqlService: cfg.Addr,
		rabbitService: net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port)),
	}, nil
}

// prepareDatabase makes the tables, and a user who may not write while the
// server is read-only, as applications have it and root does not.
func (r *run) prepareDatabase(ctx context.Context) error {
	cfg, err := mysql.ParseDSN(r.servers[mysqlService].Value)
	if err != nil {
		return err
	}
	first, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		return err
	}
	defer func() { _ = first.Close() }()
	for _, statement := range []string{
		"CREATE DATABASE " + database + " CHARACTER SET utf8mb4",
		"CREATE USER " + dbUser + "@'%'", "CREATE USER " + dbUser + "@localhost",
		"GRANT ALL ON " + database + ".* TO " + dbUser + "@'%'", "GRANT ALL ON " + database + ".* TO " + dbUser + "@localhost",
	} {
		if _, err := first.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("prepare the database: %w", err)
		}
	}
	var data string
	if err := first.QueryRowContext(ctx, "SELECT @@datadir").Scan(&data); err != nil {
		return err
	}
	if r.noDisk == nil {
		r.disk, r.noDisk = mountDisk(filepath.Join(data, database), diskSize(r.opts.duration))
	}
	if r.root, err = openDB(r.addrs[mysqlService], cfg.User); err != nil {
		return err
	}
	for _, statement := range []string{"CREATE TABLE orders (n VARCHAR(64) PRIMARY KEY)", "CREATE TABLE growing (b LONGTEXT)"} {
		if _, err := r.root.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("prepare the database: %w", err)
		}
	}
	if err := inherit(ctx, r.root, r.ledger); err != nil {
		return err
	}
	direct := procConfig{Redis: r.addrs[redisService], MySQL: r.addrs[mysqlService], Rabbit: r.addrs[rabbitService]}
	client, err := gateway.New(ctx, direct.gateway())
	if err != nil {
		return err
	}
	return errors.Join(client.Migrate(ctx), client.Close())
}

// begin starts a process without waiting until it is ready.
func (r *run) begin(name string, change func(*procConfig)) error {
	r.starts[name]++
	c := procConfig{
		Name: fmt.Sprintf("%s%d", name, r.starts[name]), Listen: r.listen[name], Users: r.opts.users, Rate: r.opts.rate,
		Redis: r.named(redisService, r.via[name][redisService]), MySQL: r.named(mysqlService, r.via[name][mysqlService]),
		Rabbit: r.named(rabbitService, r.via[name][rabbitService]), Seed: r.rng.Uint64(),
	}
	switch name {
	case floodName:
		c.Role = roleFlood
	case originalName:
		c.Role = roleOriginal
	case nodeNames[0], nodeNames[1]:
		c.Role = roleNode
	default:
		c.Role = roleSender
	}
	if r.opts.clocks {
		c.clock = randomShift(r.rng)
	}
	if change != nil {
		change(&c)
	}
	p, err := startProc(r.dir, c, r.ledger.note)
	if err != nil {
		return err
	}
	r.procs[name] = p
	return nil
}

func (r *run) startProc(ctx context.Context, name string) error {
	if err := r.begin(name, nil); err != nil {
		return err
	}
	return r.procs[name].awaitUp(ctx)
}

// stop ends whatever still runs, in an order that lets each end.
func (r *run) stop() {
	if r.fleet != nil {
		r.fleet.stop()
	}
	for _, p := range r.procs {
		p.kill()
	}
	if r.front != nil {
		r.front.close()
	}
	r.links.close()
	if r.names != nil {
		r.names.close()
	}
	if r.root != nil {
		_ = r.root.Close()
	}
	for _, s := range r.servers {
		s.Resume() // one that is paused would not hear that it should end
	}
	if r.disk != nil {
		r.servers[mysqlService].Kill()
		r.disk.unmount()
	}
	r.sup.Stop()
}

// settle ends the load, lets everything calm down, and accounts for it.
func (r *run) settle(ctx context.Context) error {
	for _, name := range senderNames {
		if err := r.procs[name].tell(orderStop); err != nil {
			return err
		}
	}
	for _, name := range senderNames {
		if err := r.procs[name].wait(waitDeadline + drainTime); err != nil {
			r.ledger.complain("after the order to stop: %v", err)
		}
	}
	if err := r.procs[originalName].tell(orderStop); err != nil {
		return err
	}
	r.awaitIdle(ctx)
	close(r.fleet.calm)
	r.say("the load is over; every device connects and stays")
	r.account = newAccount(r.ledger)
	if err := r.account.wait(ctx, r.root); err != nil {
		return err
	}
	r.say("nothing is on its way any more")
	return r.endNodes()
}

// awaitIdle waits until no call of a sender waits any more.
func (r *run) awaitIdle(ctx context.Context) {
	began := sampleLoad()
	for _, name := range slices.Concat(senderNames, []string{originalName}) {
		for !r.ledger.isIdle(r.procs[name].name) {
			if began.over(waitDeadline) || sleep(ctx, 50*time.Millisecond) != nil {
				r.ledger.complain("%s: calls have not returned %v after the order to stop", name, waitDeadline)
				break
			}
		}
	}
}

// endNodes shuts the nodes down as a deployment does.
func (r *run) endNodes() error {
	for _, name := range nodeNames {
		r.procs[name].terminate()
	}
	for _, name := range nodeNames {
		if err := r.procs[name].wait(shutdownTime + 5*time.Second); err != nil {
			r.ledger.complain("at its shutdown: %v", err)
		}
	}
	return nil
}

// complain notes a violation.
func (l *ledger) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}
