// A mall's calls, written against the types generated from docs/openapi.yaml. Compiled, never run.

import type { paths } from "./schema";

type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : never;
type Operation<P extends keyof paths> = NonNullable<paths[P]["post"]>;
type Request<P extends keyof paths> = Json<Operation<P>["requestBody"]>;
type Answer<P extends keyof paths> = Json<Operation<P>["responses"][200]>;

async function post<P extends keyof paths>(path: P, body: Request<P>): Promise<Answer<P>> {
  const headers = { Authorization: "Bearer gbm_…", "Content-Type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  return (await fetch(`https://platform.example.com${path}`, init)).json();
}

const mall = { source: "s01", channel: "c01" };
const notifyUrl = "https://mall.example.com/group_buy_notify";

export async function price(userId: string): Promise<number | null> {
  const trial = await post("/api/v1/gbm/trade/trial", { ...mall, userId, goodsId: "9890001" });
  return trial.code === "0000" && trial.data?.goods ? trial.data.goods.payPrice : null;
}

export async function openTeam(userId: string, outTradeNo: string): Promise<string> {
  const lock = await post("/api/v1/gbm/trade/lock_market_pay_order", {
    ...mall,
    userId,
    goodsId: "9890001",
    activityId: 100123,
    outTradeNo,
    notifyConfigVO: { notifyType: "HTTP", notifyUrl },
  });
  if (!lock.data) throw new Error(`${lock.code} ${lock.info}`);
  return lock.data.teamId;
}

export async function joinTeam(userId: string, outTradeNo: string, teamId: string | null) {
  const lock = await post("/api/v1/gbm/trade/lock_market_pay_order", {
    ...mall,
    userId,
    goodsId: "9890001",
    activityId: 100123,
    teamId,
    outTradeNo,
    notifyConfigVO: { notifyType: "MQ" },
  });
  return lock.data?.payPrice.toFixed(2);
}

export async function settle(userId: string, outTradeNo: string, paid: Date): Promise<boolean> {
  const order = { ...mall, userId, outTradeNo, outTradeTime: paid.toISOString() };
  return (await post("/api/v1/gbm/trade/settlement_market_pay_order", order)).code === "0000";
}

export async function refund(userId: string, outTradeNo: string): Promise<boolean> {
  const order = { ...mall, userId, outTradeNo };
  const answer = await post("/api/v1/gbm/trade/refund_market_pay_order", order);
  return answer.data?.code === "success" || answer.data?.code === "repeat";
}

export async function confirmRefund(userId: string, outTradeNo: string, yuan: number) {
  const refund = { ...mall, userId, outTradeNo, refundAmount: yuan };
  const confirmed = await post("/api/v1/gbm/trade/confirm_refund", refund);
  return confirmed.data?.refundTime;
}

export async function mistakes(userId: string, outTradeNo: string) {
  const order = { ...mall, userId, outTradeNo };
  // @ts-expect-error outTradeTime is missing
  await post("/api/v1/gbm/trade/settlement_market_pay_order", order);
  const lock = { ...order, goodsId: "9890001", activityId: 100123 };
  // @ts-expect-error notifyConfigVO is missing
  await post("/api/v1/gbm/trade/lock_market_pay_order", lock);
  const notifyConfigVO = { notifyType: "SMS" as const };
  // @ts-expect-error there is no such notifyType
  await post("/api/v1/gbm/trade/lock_market_pay_order", { ...lock, notifyConfigVO });
}
