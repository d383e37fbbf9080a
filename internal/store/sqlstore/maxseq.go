package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// MaxSeqs reads the highest seq of each user that has rows. It counts deleted rows
// too: their numbers were given out. Where the table takes two user ids for equal,
// each may get the higher one of both, which leaves a gap and no more.
func (s *Store) MaxSeqs(ctx context.Context, userIDs []string) (map[string]int64, error) {
	highest := make(map[string]int64, len(userIDs))
	for part := range slices.Chunk(distinct(userIDs), batchUsers) {
		err := s.retry(ctx, "read highest seqs", func(ctx context.Context) error {
			return s.dialect.maxSeqs(ctx, s, part, highest)
		})
		if err != nil {
			return nil, err
		}
	}
	return highest, nil
}

// newest is the highest seq of some rows of a user.
type newest struct {
	UserID string `db:"target_user_id"`
	Seq    int64  `db:"seq"`
}

func sqliteMaxSeqs(ctx context.Context, s *Store, users []string, highest map[string]int64) error {
	return s.readNewest(ctx, sqliteMaxSeqsSQL(len(users)), users, func(r newest) { highest[r.UserID] = r.Seq })
}

// sqliteMaxSeqsSQL reads the ends of the indexes for n users: 0 where there is
// nothing.
func sqliteMaxSeqsSQL(n int) string {
	ends := make([]string, len(sqlitePlaces))
	for i, place := range sqlitePlaces {
		ends[i] = "COALESCE((SELECT seq FROM push_messages WHERE target_user_id = target AND " + place + " ORDER BY seq DESC LIMIT 1), 0)"
	}
	return "WITH users (target) AS (VALUES " + strings.TrimSuffix(strings.Repeat("(?),", n), ",") +
		") SELECT target AS target_user_id, MAX(" + strings.Join(ends, ", ") + ") AS seq FROM users"
}

// mysqlMaxSeqsSQL reads one entry of the index for each state of n users ("Using
// index for group-by").
func mysqlMaxSeqsSQL(n int) string {
	return "SELECT target_user_id, COALESCE(MAX(seq), 0) AS seq FROM push_messages WHERE target_user_id IN (" +
		strings.TrimSuffix(strings.Repeat("?,", n), ",") + ") GROUP BY target_user_id, status"
}

const (
	// mysqlMaxSeqSQL is one user's part of a UNION ALL for where the names that
	// came back need not be those that were asked for.
	mysqlMaxSeqSQL = `SELECT ? AS target_user_id, COALESCE(MAX(seq), 0) AS seq FROM (
SELECT MAX(seq) AS seq FROM push_messages WHERE target_user_id = ? GROUP BY status) states`

	// collationSQL finds none for a column of bytes or numbers.
	collationSQL = `SELECT COALESCE(collation_name, '') FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = '` + wire.Table + `' AND column_name = 'target_user_id'`
)

func mysqlMaxSeqs(ctx context.Context, s *Store, users []string, highest map[string]int64) error {
	binary, err := s.comparesBytes(ctx)
	if err != nil {
		return err
	}
	if !binary {
		query := mysqlMaxSeqSQL + strings.Repeat(" UNION ALL "+mysqlMaxSeqSQL, len(users)-1)
		twice := make([]string, 0, 2*len(users))
		for _, user := range users {
			twice = append(twice, user, user)
		}
		return s.readNewest(ctx, query, twice, func(r newest) { highest[r.UserID] = r.Seq })
	}
	// All but the newest binary collations ignore spaces at the end.
	found := make(map[string]int64, len(users))
	err = s.readNewest(ctx, mysqlMaxSeqsSQL(len(users)), users, func(r newest) {
		name := strings.TrimRight(r.UserID, " ")
		found[name] = max(r.Seq, found[name])
	})
	for _, user := range users {
		if seq := found[strings.TrimRight(user, " ")]; seq > 0 {
			highest[user] = seq
		}
	}
	return err
}

// comparesBytes reports whether user ids are equal in the table only if they are
// in Go, but for spaces at the end. It asks once.
func (s *Store) comparesBytes(ctx context.Context) (bool, error) {
	if c := s.userCollation.Load(); c != nil {
		return strings.HasSuffix(*c, "_bin"), nil
	}
	var collation string
	err := s.r.GetContext(ctx, &collation, collationSQL)
	if errors.Is(err, sql.ErrNoRows) {
		return false, store.ErrNoTable
	}
	if err != nil {
		return false, err
	}
	s.userCollation.Store(&collation)
	return strings.HasSuffix(collation, "_bin"), nil
}

func (s *Store) readNewest(ctx context.Context, query string, args []string, each func(newest)) error {
	var rows []newest
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg
	}
	if err := s.r.SelectContext(ctx, &rows, query, values...); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Seq > 0 {
			each(r)
		}
	}
	return nil
}
