package sqlstore

import (
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/wire"
)

// Statements, with marks that each dialect replaces:
//
//	{id}, {user}, {request}  the column's value as bytes: equal, and ordered, as
//	                         Go compares strings, whatever the collation says
//	{columns}                the columns of row
//	{primary}                a hint to go by the primary key only. Otherwise a
//	                         small table may be scanned, and locked, as a whole
//	{lock}                   locks the rows read until the transaction ends, and
//	                         reads their newest state
//	{share}                  the same for rows that an INSERT found taken. It
//	                         holds them shared already; to ask for more would
//	                         deadlock with another that found them taken too
//	{table}                  push_messages, with its database where the statement
//	                         runs in a transaction of the application
//	{skipTaken}              leaves out rows whose id is taken
//	{skipTakenTx}            so too in a transaction of the application. On MySQL
//	                         that is an error to catch there, because how many
//	                         rows were left out depends on clientFoundRows
//	{partial}                names the condition of the index of unfinished rows,
//	                         where that has one
//	{each}                   a value for each row: replaced for each call by a CASE
//	                         with a WHEN for each row, or by ? if the rows share it
//
// (?) stands for a list of any length. Conditions on an id come twice: as a plain
// comparison, which can use the index, and as an exact one.
//
// MySQL assigns the columns of an UPDATE from left to right and lets later ones
// see the new values, so status is always the last.
const (
	unfinishedStates = `status IN ('PENDING', 'DELIVERING', 'REQUEST_DELIVERED')`
	endedStates      = `status NOT IN ('PENDING', 'DELIVERING', 'REQUEST_DELIVERED')`
	visible          = `deleted_at IS NULL`
	inTime           = `(expired_at IS NULL OR expired_at > ?)`

	getSQL = `SELECT {columns} FROM push_messages
WHERE id IN (?) AND {id} IN (?) AND ` + visible

	findCommandSQL = `SELECT {columns} FROM push_messages
WHERE target_user_id = ? AND {user} = ? AND status IN ('PENDING', 'DELIVERING', 'REQUEST_DELIVERED', 'TIMED_OUT')
AND push_type = 2 AND {request} = ? AND ` + visible + ` LIMIT 1`

	// unfinishedSQL takes the first rows of each state in the order of an
	// index and merges them, so that a page of a long backlog costs a page.
	unfinishedSQL = `SELECT {columns} FROM (
SELECT * FROM (` + unfinishedPartSQL + `) pending
UNION ALL SELECT * FROM (` + unfinishedPartSQL + `) delivering
UNION ALL SELECT * FROM (` + unfinishedPartSQL + `) delivered
ORDER BY key_seq, key_id LIMIT ?) page
JOIN push_messages ON id = key_id ORDER BY seq, id`
	unfinishedPartSQL = `SELECT id AS key_id, seq AS key_seq FROM push_messages
WHERE target_user_id = ? AND {user} = ? AND status = ?{partial} AND ` + visible + ` AND ` + inTime + ` AND {behind}
ORDER BY seq, id LIMIT ?`

	// The conditions for {behind}: from the start, behind a row with a seq,
	// and behind a row without one.
	behindNothing = `1 = 1`
	behindSeq     = `seq >= ? AND (seq > ? OR id > ?)`
	behindNull    = `(seq > 0 OR (COALESCE(seq, 0) = 0 AND id > ?))`

	unfinishedRefsSQL = `SELECT id, target_user_id FROM push_messages
WHERE target_user_id IN (?) AND {user} IN (?) AND ` + unfinishedStates + ` AND ` + visible + ` AND ` + inTime + `
AND ({user} > ? OR ({user} = ? AND {id} > ?))
ORDER BY {user}, {id} LIMIT ?`

	// holdersSQL compares ids as an INSERT does.
	holdersSQL = `SELECT id, target_user_id, push_type, deleted_at IS NOT NULL AS deleted, COALESCE(nonce, '') AS nonce
FROM {table} WHERE id IN (?){share}`

	deliveredSQL = `UPDATE push_messages {primary} SET
delivering_at = COALESCE(delivering_at, {each}), updated_at = ?, status = 'DELIVERING'
WHERE id IN (?) AND {id} IN (?) AND status = 'PENDING' AND ` + visible

	acknowledgedSQL = `UPDATE push_messages {primary} SET
delivering_at = COALESCE(delivering_at, {each}),
request_delivered_at = COALESCE(request_delivered_at, CASE WHEN push_type = 2 THEN {each} END),
finished_at = COALESCE(finished_at, CASE WHEN push_type <> 2 THEN {each} END),
updated_at = ?, status = CASE WHEN push_type = 2 THEN 'REQUEST_DELIVERED' ELSE 'FINISHED' END
WHERE id IN (?) AND {id} IN (?) AND status IN ('PENDING', 'DELIVERING') AND ` + visible

	lockAnswersSQL = `SELECT {columns} FROM push_messages {primary}
WHERE id IN (?) AND {id} IN (?) AND push_type = 2 AND ` + visible + `{lock}`

	// answerFirstSQL writes answers where they are the first ones, and in time.
	answerFirstSQL = answerWonSQL + ` AND {id} IN (?) AND push_type = 2 AND ` + unfinishedStates + ` AND ` + visible + ` AND ` + inTime

	// The rows of the next two are locked and were checked.
	answerWonSQL = `UPDATE push_messages {primary} SET
delivering_at = COALESCE(delivering_at, {each}),
request_delivered_at = COALESCE(request_delivered_at, {each}),
finished_at = {each}, command_response = {each},
updated_at = ?, status = 'FINISHED' WHERE id IN (?)`
	answerLateSQL = `UPDATE push_messages {primary} SET
command_response = {each}, updated_at = ?, status = 'TIMED_OUT' WHERE id IN (?)`

	setResponseQueueSQL = `UPDATE push_messages SET command_response_queue = ?, updated_at = ?
WHERE id = ? AND {id} = ? AND (command_response_queue IS NULL OR command_response_queue = '') AND ` + visible

	timeOutSQL = `UPDATE push_messages {primary} SET updated_at = ?, status = 'TIMED_OUT'
WHERE id IN (?) AND {id} IN (?) AND push_type = 2 AND ` + unfinishedStates + ` AND ` + visible

	// expiredSQL and purgeableSQL name finished_at also where it is null, because
	// it stands before expired_at in their index.
	expiredSQL = `SELECT id FROM push_messages
WHERE ` + unfinishedStates + ` AND finished_at IS NULL AND expired_at <= ? AND push_type = 2 AND ` + visible + ` LIMIT ?`

	// purgeableSQL falls back, in rows of other writers, on updated_at where the
	// time of the end is missing, and takes the finished_at of one that timed out.
	purgeableSQL = `SELECT * FROM (SELECT id FROM push_messages WHERE status = 'FINISHED' AND finished_at < ? LIMIT ?) a
UNION ALL SELECT * FROM (SELECT id FROM push_messages WHERE status = 'TIMED_OUT' AND finished_at IS NULL AND expired_at < ? LIMIT ?) b
UNION ALL SELECT * FROM (SELECT id FROM push_messages WHERE status = 'FINISHED' AND finished_at IS NULL AND updated_at < ? LIMIT ?) c
UNION ALL SELECT * FROM (SELECT id FROM push_messages WHERE status = 'TIMED_OUT' AND finished_at IS NULL AND expired_at IS NULL AND updated_at < ? LIMIT ?) d
UNION ALL SELECT * FROM (SELECT id FROM push_messages WHERE status = 'TIMED_OUT' AND finished_at < ? LIMIT ?) e
LIMIT ?`
	purgeableCountSQL = `SELECT COUNT(*) FROM (` + purgeableSQL + `) old`
	countSQL          = `SELECT COUNT(*) FROM (SELECT id FROM push_messages WHERE status = ? LIMIT ?) counted`
	purgeSQL          = `DELETE FROM push_messages WHERE id IN (?) AND status IN ('FINISHED', 'TIMED_OUT')`

	// The long form has all columns, the short form those that a reliable
	// message has when it is sent. The others are null by default, and half of
	// the work of an INSERT is to write and to read the columns.
	insertSQL = `INSERT INTO {table} (id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
nonce, created_at, updated_at, command_request_id, command_response, command_response_queue, expired_at, retry_interval,
delivering_at, request_delivered_at, finished_at) VALUES `
	insertRowSQL   = `(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`
	insertShortSQL = `INSERT INTO {table} (id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
nonce, created_at, updated_at) VALUES `
	insertShortRowSQL = `(?,?,?,?,?,?,?,?,?,?,?)`
)

// insertColumns is the number of marks in insertRowSQL.
const insertColumns = 19

// queries are the statements in one dialect.
type queries struct {
	get, findCommand                                     string
	unfinishedFirst, unfinishedSeq, unfinishedNull       string
	unfinishedRefs, history, historyBack                 string
	insert, insertShort, skipTaken, insertTx             string
	holders, holdersTx                                   string
	delivered, acknowledged, caseOfID                    string
	answerFirst, lockAnswers, answerWon, answerLate      string
	setResponseQueue, timeOut, expired, purgeable, purge string
	purgeableCount, count                                string
}

func render(d *dialect, qualifiedTable string) queries {
	words := strings.NewReplacer(d.words...)
	unfinished := func(behind string) string {
		return words.Replace(strings.ReplaceAll(unfinishedSQL, "{behind}", behind))
	}
	in := func(table, query string) string { return words.Replace(strings.ReplaceAll(query, "{table}", table)) }
	return queries{
		get:              words.Replace(getSQL),
		findCommand:      words.Replace(findCommandSQL),
		unfinishedFirst:  unfinished(behindNothing),
		unfinishedSeq:    unfinished(behindSeq),
		unfinishedNull:   unfinished(behindNull),
		unfinishedRefs:   words.Replace(unfinishedRefsSQL),
		history:          words.Replace(historySQL(d.places, ">", "")),
		historyBack:      words.Replace(historySQL(d.places, "<", " DESC")),
		insert:           in(wire.Table, insertSQL),
		insertShort:      in(wire.Table, insertShortSQL),
		skipTaken:        words.Replace("{skipTaken}"),
		insertTx:         in(qualifiedTable, insertSQL+insertRowSQL+"{skipTakenTx}"),
		holders:          in(wire.Table, holdersSQL),
		holdersTx:        in(qualifiedTable, holdersSQL),
		delivered:        words.Replace(deliveredSQL),
		acknowledged:     words.Replace(acknowledgedSQL),
		caseOfID:         words.Replace("CASE {id}"),
		answerFirst:      words.Replace(answerFirstSQL),
		lockAnswers:      words.Replace(lockAnswersSQL),
		answerWon:        words.Replace(answerWonSQL),
		answerLate:       words.Replace(answerLateSQL),
		setResponseQueue: words.Replace(setResponseQueueSQL),
		timeOut:          words.Replace(timeOutSQL),
		expired:          words.Replace(expiredSQL),
		purgeable:        words.Replace(purgeableSQL),
		purgeableCount:   words.Replace(purgeableCountSQL),
		count:            words.Replace(countSQL),
		purge:            words.Replace(purgeSQL),
	}
}

// expand writes lists out: one mark for each element of a slice argument.
func expand(query string, args ...any) (string, []any, error) {
	return sqlx.In(query, args...)
}
