// The body of a push, and what the store is told of each CDR.

import { Refusal } from './refusal.mjs';

const mandatoryText = { type: 'string', minLength: 1 };
const text = { type: 'string', nullable: true };
/** UTC; '' is Huawei's other way to leave it out. */
const moment = { type: 'string', nullable: true, pattern: '^(\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d)?$' };

/** JSON schema of a push of CDRs. Members that are not used are not named. */
export const pushSchema = {
  type: 'object',
  required: ['eventType', 'feeLst'],
  properties: {
    eventType: { const: 'fee' },
    feeLst: {
      type: 'array',
      minItems: 1,
      maxItems: 50,
      items: {
        type: 'object',
        required: ['direction', 'spId', 'appKey', 'bindNum', 'sessionId'],
        properties: {
          direction: { type: 'integer', enum: [0, 1, 2] },
          spId: mandatoryText,
          appKey: mandatoryText,
          icid: text,
          bindNum: mandatoryText,
          sessionId: mandatoryText,
          subscriptionId: text,
          callerNum: text,
          fwdDstNum: text,
          callInTime: moment,
          fwdStartTime: moment,
          fwdAnswerTime: moment,
          callEndTime: moment,
          failTime: moment,
          recordFlag: { type: 'integer', nullable: true, enum: [0, 1, null] },
          recordFileDownloadUrl: text,
          userData: text,
        },
      },
    },
  },
};

/** Epoch milliseconds of a CDR time; null where it is left out. */
function epochMs(value, pointer) {
  if (!value) return null;
  const time = Date.parse(`${value.slice(0, 10)}T${value.slice(11)}Z`);
  // A day that does not exist is taken for one of the next month.
  if (Number.isNaN(time) || new Date(time).getUTCDate() !== Number(value.slice(8, 10))) {
    throw new Refusal(400, `${pointer}: there is no such time`);
  }
  return time;
}

/** What the store is told of a CDR that the schema allows. */
export function reshape(cdr, index, { appKey, ak, claimDeadline }) {
  const pointer = `/feeLst/${index}`;
  if (cdr.appKey !== appKey) throw new Refusal(400, `${pointer}/appKey: is not the application that signed the push`);
  const callInTime = epochMs(cdr.callInTime, `${pointer}/callInTime`);
  const fwdStartTime = epochMs(cdr.fwdStartTime, `${pointer}/fwdStartTime`);
  const callEndTime = epochMs(cdr.callEndTime, `${pointer}/callEndTime`);
  const failTime = epochMs(cdr.failTime, `${pointer}/failTime`);
  const origNum = [cdr.fwdDstNum, cdr.callerNum, null][cdr.direction];
  return {
    appKey,
    sessionId: cdr.sessionId,
    icid: cdr.icid ?? '',
    claimDeadline,
    callinTime: callInTime ?? fwdStartTime,
    answerTime: epochMs(cdr.fwdAnswerTime, `${pointer}/fwdAnswerTime`),
    disconnectTime: callEndTime ?? failTime,
    recordUrl: cdr.recordFileDownloadUrl || null,
    subscriptionId: cdr.subscriptionId || null,
    privateNum: cdr.bindNum,
    origNum: origNum || null,
    userData: cdr.userData || null,
    ak,
    recordFlag: cdr.recordFlag == null ? null : cdr.recordFlag === 1,
  };
}
