-- What the filter does, in Envoy's Lua filter: takes Huawei's pushes, has them recorded, calls back, reports.
--
-- A peer for the benchmark, see ../README.md. Everything at file level is made once for each worker.

-- Fill the places between @ signs.
local config = {
  app_key = "@APP_KEY@",
  app_secret = "@APP_SECRET@",
  ak = "@AK@",
  store = "store",       -- clusters
  business = "business",
  push_path = "/huawei/fee",
  callback_path = "/callback",
  timeout_ms = 5000,
  max_body_bytes = 1024 * 1024,
  claim_deadline_ms = 15 * 60 * 1000,
  -- A repeated push may carry the Created of the first attempt, which is up to five hours old.
  created_window_ms = 24 * 60 * 60 * 1000,
}

local USER_AGENT = "peer-lua/0.1.0"
local METADATA = "envoy.filters.http.lua"
local SUCCESS = '{"resultcode":"0","resultdesc":"Success"}'
local MAX_CDRS = 50

local bit = require("bit")
local band, bnot, bxor, ror, rshift, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit
local byte, char, find, format, match, sub = string.byte, string.char, string.find, string.format, string.match, string.sub
local concat, floor = table.concat, math.floor

-- SHA-256 (FIPS 180-4) and HMAC (RFC 2104) ---------------------------------------------------------------------------

local ROUND = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local START = {
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}
for index = 1, 64 do ROUND[index] = tobit(ROUND[index]) end
for index = 1, 8 do START[index] = tobit(START[index]) end

local schedule = {}

-- The state after the 64 bytes of `text` at `at`.
local function compress(state, text, at)
  local w = schedule
  for index = 1, 16 do
    local a, b, c, d = byte(text, at, at + 3)
    w[index] = tobit(((a * 256 + b) * 256 + c) * 256 + d)
    at = at + 4
  end
  for index = 17, 64 do
    local x, y = w[index - 15], w[index - 2]
    local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    w[index] = tobit(w[index - 16] + s0 + w[index - 7] + s1)
  end
  local a, b, c, d = state[1], state[2], state[3], state[4]
  local e, f, g, h = state[5], state[6], state[7], state[8]
  for index = 1, 64 do
    local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
    local choice = bxor(band(e, f), band(bnot(e), g))
    local t1 = h + s1 + choice + ROUND[index] + w[index]
    local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
    local majority = bxor(band(a, b), band(a, c), band(b, c))
    h, g, f, e = g, f, e, tobit(d + t1)
    d, c, b, a = c, b, a, tobit(t1 + s0 + majority)
  end
  return {
    tobit(state[1] + a), tobit(state[2] + b), tobit(state[3] + c), tobit(state[4] + d),
    tobit(state[5] + e), tobit(state[6] + f), tobit(state[7] + g), tobit(state[8] + h),
  }
end

local function word(value)
  return char(rshift(value, 24), band(rshift(value, 16), 255), band(rshift(value, 8), 255), band(value, 255))
end

-- The 32 bytes of the digest of `text`, to which `before` bytes, a multiple of 64, came earlier and gave `state`.
local function finish(state, before, text)
  local length = #text
  local zeros = (55 - length) % 64
  text = text .. "\128" .. ("\0"):rep(zeros + 4) .. word(tobit((before + length) * 8))
  for at = 1, #text, 64 do state = compress(state, text, at) end
  local words = {}
  for index = 1, 8 do words[index] = word(state[index]) end
  return concat(words)
end

-- The states after the two padded keys; the same for every push.
local function keyed(secret)
  if #secret > 64 then secret = finish(START, 0, secret) end
  secret = secret .. ("\0"):rep(64 - #secret)
  local function pad(with)
    return (secret:gsub(".", function(key) return char(bxor(byte(key), with)) end))
  end
  return compress(START, pad(0x36), 1), compress(START, pad(0x5c), 1)
end

local INNER, OUTER = keyed(config.app_secret)

local function hmac(message)
  return finish(OUTER, 64, finish(INNER, 64, message))
end

-- In constant time.
local function equal(one, other)
  if #one ~= #other then return false end
  local difference = 0
  for index = 1, #one do
    difference = bit.bor(difference, bxor(byte(one, index), byte(other, index)))
  end
  return difference == 0
end

-- Time ---------------------------------------------------------------------------------------------------------------

local MONTH_DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- Epoch milliseconds; nil for what is no moment.
local function epoch_ms(year, month, day, hour, minute, second)
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  local days = MONTH_DAYS[month]
  if not days or hour > 23 or minute > 59 or second > 59 then return nil end
  local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  if month == 2 and leap then days = 29 end
  if day < 1 or day > days then return nil end
  -- Years counted from March: the leap day is the last of its year.
  if month > 2 then month = month - 3 else year, month = year - 1, month + 9 end
  local since = year * 365 + floor(year / 4) - floor(year / 100) + floor(year / 400)
  since = since + floor((153 * month + 2) / 5) + day - 719469
  return (((since * 24 + hour) * 60 + minute) * 60 + second) * 1000
end

-- JSON: values stay as they are written ------------------------------------------------------------------------------

local QUOTE, BACKSLASH, COLON, COMMA = byte('"\\:,', 1, 4)
local OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = byte("{}[]", 1, 4)

local function skip_space(text, at)
  local code = byte(text, at)
  while code == 32 or code == 10 or code == 13 or code == 9 do
    at = at + 1
    code = byte(text, at)
  end
  return at, code
end

-- Where the string that begins at `at` ends.
local function string_end(text, at)
  local quote = at
  while true do
    quote = find(text, '"', quote + 1, true)
    if not quote then return nil end
    local before = quote - 1
    while byte(text, before) == BACKSLASH do before = before - 1 end
    if (quote - before) % 2 == 1 then return quote end
  end
end

-- What follows the value that begins at `at`; nil where there is none.
local function after_value(text, at)
  local code = byte(text, at)
  if code == QUOTE then
    local last = string_end(text, at)
    return last and last + 1
  end
  if code == OPEN or code == OPEN_LIST then
    local depth = 1
    while depth > 0 do
      at = find(text, '["{}%[%]]', at + 1)
      if not at then return nil end
      code = byte(text, at)
      if code == QUOTE then
        at = string_end(text, at)
        if not at then return nil end
      elseif code == OPEN or code == OPEN_LIST then
        depth = depth + 1
      else
        depth = depth - 1
      end
    end
    return at + 1
  end
  local literal = match(text, "^[%w.+-]+", at)
  if not literal or not (literal == "true" or literal == "false" or literal == "null" or tonumber(literal)) then
    return nil
  end
  return at + #literal
end

-- The members of the object that begins at `at`, as they are written, and what follows it; nil for what is none.
local function read_object(text, at)
  local code
  if byte(text, at) ~= OPEN then return nil end
  local members = {}
  at, code = skip_space(text, at + 1)
  if code == CLOSE then return members, at + 1 end
  while code == QUOTE do
    local last = string_end(text, at)
    if not last then return nil end
    local name = sub(text, at + 1, last - 1)
    at, code = skip_space(text, last + 1)
    if code ~= COLON then return nil end
    at = skip_space(text, at + 1)
    local after = after_value(text, at)
    if not after then return nil end
    members[name] = sub(text, at, after - 1)
    at, code = skip_space(text, after)
    if code == CLOSE then return members, at + 1 end
    if code ~= COMMA then return nil end
    at, code = skip_space(text, at + 1)
  end
  return nil
end

-- The objects of a list; nil for what is none.
local function read_objects(text)
  if byte(text, 1) ~= OPEN_LIST then return nil end
  local objects = {}
  local at, code = skip_space(text, 2)
  if code == CLOSE_LIST then return objects end
  while true do
    local object
    object, at = read_object(text, at)
    if not object then return nil end
    objects[#objects + 1] = object
    at, code = skip_space(text, at)
    if code == CLOSE_LIST then return objects end
    if code ~= COMMA then return nil end
    at = skip_space(text, at + 1)
  end
end

-- The one object a text consists of; nil for what is none.
local function read_document(text)
  local object, after = read_object(text, (skip_space(text, 1)))
  if not object or skip_space(text, after) <= #text then return nil end
  return object
end

-- A CDR's text as it is written, quotes included; nil where it is absent, `null` or "".
local function text_of(value)
  if not value or value == "null" or value == '""' then return nil end
  return byte(value) == QUOTE and value or nil
end

-- Pushes -------------------------------------------------------------------------------------------------------------

local QUOTED_APP_KEY = '"' .. config.app_key .. '"'
local MOMENT = '^"(%d%d%d%d)%-(%d%d)%-(%d%d) (%d%d):(%d%d):(%d%d)"$'
local CREATED = "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)Z$"
local ORIG_NUM = { ["0"] = "fwdDstNum", ["1"] = "callerNum", ["2"] = "" }
local RECORD_FLAG = { ["0"] = "false", ["1"] = "true" }

-- The moment in a field of a CDR, or the next one, as JSON; nil and the field's name where it is none.
local function moment_of(cdr, name, other)
  local value = text_of(cdr[name])
  if value then
    local moment = epoch_ms(match(value, MOMENT))
    if not moment then return nil, name end
    return format("%.0f", moment)
  end
  if other then return moment_of(cdr, other) end
  return "null"
end

-- What the store is told of a CDR; nil and the name of the field that is wrong.
local function reshape(cdr, deadline)
  if not text_of(cdr.spId) then return nil, "spId" end
  local session_id, bind_num = text_of(cdr.sessionId), text_of(cdr.bindNum)
  if not session_id then return nil, "sessionId" end
  if not bind_num then return nil, "bindNum" end
  if cdr.appKey ~= QUOTED_APP_KEY then return nil, "appKey" end
  local orig_num = ORIG_NUM[cdr.direction]
  if not orig_num then return nil, "direction" end
  local record_flag = "null"
  if cdr.recordFlag and cdr.recordFlag ~= "null" then
    record_flag = RECORD_FLAG[cdr.recordFlag]
    if not record_flag then return nil, "recordFlag" end
  end
  local callin_time, wrong = moment_of(cdr, "callInTime", "fwdStartTime")
  if not callin_time then return nil, wrong end
  local answer_time, disconnect_time
  answer_time, wrong = moment_of(cdr, "fwdAnswerTime")
  if not answer_time then return nil, wrong end
  disconnect_time, wrong = moment_of(cdr, "callEndTime", "failTime")
  if not disconnect_time then return nil, wrong end
  return concat({
    '{"appKey":', QUOTED_APP_KEY,
    ',"sessionId":', session_id,
    ',"icid":', text_of(cdr.icid) or '""',
    ',"claimDeadline":', deadline,
    ',"callinTime":', callin_time,
    ',"answerTime":', answer_time,
    ',"disconnectTime":', disconnect_time,
    ',"recordUrl":', text_of(cdr.recordFileDownloadUrl) or "null",
    ',"subscriptionId":', text_of(cdr.subscriptionId) or "null",
    ',"privateNum":', bind_num,
    ',"origNum":', text_of(cdr[orig_num]) or "null",
    ',"userData":', text_of(cdr.userData) or "null",
    ',"ak":"', config.ak,
    '","recordFlag":', record_flag, "}",
  })
end

-- The store's request for a push; nil and what is wrong.
local function claim_request(body, push_id, now)
  local push = read_document(body)
  if not push then return nil, "the body is not a JSON object" end
  if push.eventType ~= '"fee"' then return nil, '/eventType: expected \\"fee\\"' end
  local cdrs = push.feeLst and read_objects(push.feeLst)
  if not cdrs or #cdrs < 1 or #cdrs > MAX_CDRS then return nil, "/feeLst: must be an array of 1 to 50 CDRs" end
  local deadline = format("%.0f", now + config.claim_deadline_ms)
  local calls = {}
  for index = 1, #cdrs do
    local call, wrong = reshape(cdrs[index], deadline)
    if not call then return nil, format("/feeLst/%d/%s: missing or not acceptable", index - 1, wrong) end
    calls[index] = call
  end
  return concat({
    '{"pushId":"', push_id, '","appKey":', QUOTED_APP_KEY, ',"receivedAt":', format("%.0f", now),
    ',"calls":[', concat(calls, ","), "]}",
  })
end

-- Why a request is not signed by the application; nil if it is.
local function refusal(handle, headers, now)
  local header = headers:get("x-aksk")
  if not header then return "no X-AKSK header" end
  local parts = match(header, "^%s*UsernameToken%s+(.+)$")
  local token = {}
  for name, value in string.gmatch(parts or "", '(%w+)%s*=%s*"([^"]*)"') do token[name] = value end
  if not (token.Username and token.PasswordDigest and token.Nonce and token.Created) then
    return "the credentials are not a well-formed UsernameToken"
  end
  if token.Username ~= config.app_key then return "the Username is not a configured application" end
  local digest = handle:base64Escape(hmac(token.Nonce .. token.Created))
  if not equal(digest, token.PasswordDigest) then return "the PasswordDigest does not fit the application's secret" end
  local created = epoch_ms(match(token.Created, CREATED))
  if not created then return "the credentials are not a well-formed UsernameToken" end
  if math.abs(now - created) > config.created_window_ms then return "Created is too far from the current time" end
  return nil
end

local random = assert(io.open("/dev/urandom", "rb"))

local function new_push_id()
  return (random:read(16):gsub(".", function(octet) return format("%02x", byte(octet)) end))
end

local function error_body(status, description, reason)
  return format('{"resultcode":"%s","resultdesc":"%s","reason":"%s"}', status, description, reason)
end

local function refuse(handle, status, description, reason, name, value)
  local headers = { [":status"] = status, ["content-type"] = "application/json" }
  if name then headers[name] = value end
  handle:respond(headers, error_body(status, description, reason))
end

local function is_json(content_type)
  local media_type = match(content_type or "", "^%s*([^;%s]*)")
  return media_type:lower() == "application/json"
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if match(headers:get(":path"), "^[^?]*") ~= config.push_path then return end
  if headers:get(":method") ~= "POST" then
    return refuse(handle, "405", "Method Not Allowed", "pushes are POST requests", "allow", "POST")
  end
  if not is_json(headers:get("content-type")) then
    return refuse(handle, "415", "Unsupported Media Type", "the content type is not application/json")
  end
  if (tonumber(headers:get("content-length")) or 0) > config.max_body_bytes then
    return refuse(handle, "413", "Content Too Large", "the body is too large")
  end
  local now = handle:timestamp(EnvoyTimestampResolution.MILLISECOND)
  local reason = refusal(handle, headers, now)
  if reason then
    local challenge = 'AKSK realm="SDP",profile="UsernameToken",type="Appkey"'
    return refuse(handle, "401", "Unauthorized", reason, "www-authenticate", challenge)
  end
  local body = handle:body()
  if not body then return refuse(handle, "400", "Bad Request", "the body is missing") end
  if body:length() > config.max_body_bytes then
    return refuse(handle, "413", "Content Too Large", "the body is too large")
  end
  local push_id = new_push_id()
  local request, wrong = claim_request(body:getBytes(0, body:length()), push_id, now)
  if not request then return refuse(handle, "400", "Bad Request", wrong) end
  handle:streamInfo():dynamicMetadata():set(METADATA, "push_id", push_id)
  -- What was got before the wait for the body may not be used any more.
  headers = handle:headers()
  for _, name in ipairs({ "authorization", "x-aksk", "accept-encoding", "expect" }) do headers:remove(name) end
  headers:replace("content-type", "application/json")
  -- The route to the store demands it, so that an error in this script lets nothing through.
  headers:replace("privatenumber-authenticated", "true")
  body:setBytes(request)
end

-- Callbacks ----------------------------------------------------------------------------------------------------------

local function maybe_sent(reason)
  return '{"class":"maybe_sent","reason":"' .. reason .. '"}'
end

-- What became of a callback, as JSON. What the business answers has Envoy's time of service; Envoy's own answers have not.
local function classify(headers, body)
  local status = headers[":status"]
  if headers["x-envoy-upstream-service-time"] then
    return '{"class":"answered","status":' .. status .. "}"
  elseif status == "504" then
    return maybe_sent("timeout")
  elseif find(body or "", "connection failure", 1, true) and not find(body, "retried", 1, true) then
    return '{"class":"not_sent","reason":"connection_failed"}'
  elseif body == "no healthy upstream" then
    return '{"class":"not_sent","reason":"no_healthy_host"}'
  end
  return maybe_sent("reset")
end

-- Calls back and waits for the answer.
local function call_back(handle, call_id, record)
  local started = handle:timestamp(EnvoyTimestampResolution.MILLISECOND)
  local headers, body = handle:httpCall(config.business, {
    [":method"] = "POST",
    [":path"] = config.callback_path,
    [":authority"] = config.business,
    ["content-type"] = "application/json",
    ["user-agent"] = USER_AGENT,
    ["webhook-id"] = call_id,
    ["webhook-timestamp"] = format("%.0f", floor(started / 1000)),
  }, record, config.timeout_ms)
  local duration = handle:timestamp(EnvoyTimestampResolution.MILLISECOND) - started
  return classify(headers, body), format("%.0f", duration)
end

-- Tells the store what became of a callback, without waiting for its answer.
local function report(handle, call_id, push_id, outcome, duration)
  handle:httpCall(config.store, {
    [":method"] = "POST",
    [":path"] = "/v1/outcomes",
    [":authority"] = config.store,
    ["content-type"] = "application/json",
    ["user-agent"] = USER_AGENT,
  }, concat({
    '{"outcomes":[{"callId":"', call_id, '","pushId":"', push_id,
    '","outcome":', outcome, ',"durationMs":', duration, "}]}",
  }), config.timeout_ms, true)
end

local QUOTED_AK = '"' .. config.ak .. '"'

local function settle(handle, call, push_id)
  local call_id = match(call.callId or "", '^"(%x+)"$')
  if call.verdict ~= '"claimed"' or not call_id or not call.record then return end
  if not call.ak or call.ak == "null" then
    return report(handle, call_id, push_id, '{"class":"skipped","reason":"no_binding"}', "null")
  elseif call.ak ~= QUOTED_AK then
    return report(handle, call_id, push_id, '{"class":"skipped","reason":"no_callback"}', "null")
  end
  local outcome, duration = call_back(handle, call_id, call.record)
  report(handle, call_id, push_id, outcome, duration)
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata():get(METADATA)
  local push_id = metadata and metadata.push_id
  if not push_id then return end
  local headers = handle:headers()
  local committed = headers:get(":status") == "200" and headers:get("privatenumber-committed") == push_id
  headers:remove("privatenumber-committed")
  headers:replace("content-type", "application/json")
  if not committed then
    headers:replace(":status", "503")
    headers:replace("retry-after", "60")
    local reason = "the push could not be recorded; push it again"
    handle:body(true):setBytes(error_body("503", "Service Unavailable", reason))
    return
  end
  local body = handle:body(true)
  local answer = read_document(body:getBytes(0, body:length()))
  local calls = answer and answer.calls and read_objects(answer.calls)
  for _, call in ipairs(calls or {}) do settle(handle, call, push_id) end
  -- What was got before the wait for callbacks may not be used any more.
  handle:body(true):setBytes(SUCCESS)
end
