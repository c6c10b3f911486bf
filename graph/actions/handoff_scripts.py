"""The changes of hand-overs, as scripts that may run twice: see handoffs.py, which names their keys."""

KEPT = 86_400
"""Seconds that a hand-over is known after its end, and that the team's messages wait for a receiver."""
FEWEST = 10
"""Seconds that the entry of a session outlives its time-out, so that one replica ends it for all."""

_MOST_WAITING = (
    200  # messages of one hand-over that wait for a receiver; the customer's further ones are in the history
)
_MOST_EVENTS = 100  # that a reader of a session can catch up with

# The turn, and with it the opening of a hand-over or a message that is passed on.
STORE = f"""\
if redis.call('get', KEYS[1]) == ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'EX', ARGV[2])
local time = redis.call('time')
local now = time[1] + time[2] / 1000000
if ARGV[3] ~= '' then
  redis.call('set', KEYS[2], ARGV[3], 'EX', ARGV[5] + {FEWEST})
  redis.call('set', KEYS[3], ARGV[3], 'EX', ARGV[5] + {KEPT})
  redis.call('zadd', KEYS[4], string.format('%.3f', now + ARGV[5]), ARGV[4])
  redis.call('xadd', KEYS[7], 'MAXLEN', '~', {_MOST_EVENTS}, '*', 'event', ARGV[7])
  redis.call('expire', KEYS[7], ARGV[2])
end
if ARGV[6] ~= '' and redis.call('xlen', KEYS[5]) < {_MOST_WAITING} then
  redis.call('xadd', KEYS[5], '*', 'entry', ARGV[6])
  redis.call('expire', KEYS[5], {KEPT} * 2)
  redis.call('zadd', KEYS[6], 'NX', string.format('%.3f', now), KEYS[5])
end
return 1"""

# A person's message: the conversation with it, unless the hand-over has ended meanwhile.
REPLY = f"""\
if redis.call('get', KEYS[2]) == ARGV[2] then return 1 end
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('time')
redis.call('set', KEYS[2], ARGV[2], 'EX', ARGV[3])
if ARGV[7] then redis.call('set', KEYS[6], ARGV[7], 'EX', ARGV[3]) end
redis.call('expire', KEYS[1], ARGV[5] + {KEPT})
redis.call('expire', KEYS[3], ARGV[5] + {FEWEST})
redis.call('zadd', KEYS[4], string.format('%.3f', time[1] + ARGV[5]), ARGV[4])
redis.call('xadd', KEYS[5], 'MAXLEN', '~', {_MOST_EVENTS}, '*', 'event', ARGV[6])
redis.call('expire', KEYS[5], ARGV[3])
return 1"""

END = f"""\
redis.call('zrem', KEYS[3], ARGV[3])
local there = redis.call('get', KEYS[1])
if there == ARGV[2] then return 1 end
if there ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'EX', {KEPT})
if redis.call('get', KEYS[2]) == ARGV[1] then redis.call('del', KEYS[2]) end
redis.call('xadd', KEYS[4], 'MAXLEN', '~', {_MOST_EVENTS}, '*', 'event', ARGV[4])
redis.call('expire', KEYS[4], ARGV[5])
redis.call('expire', KEYS[5], ARGV[5])
return 1"""
