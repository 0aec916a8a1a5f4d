"""What needs no knowledge base: greetings, thanks, goodbyes, asking for a person, and saying yes to one.

Known by words alone, in the languages of `engine.language.phrases` and greetings in some more. A message
that holds anything else is a question, however it begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.language.phrases import LANGUAGES, say
from engine.types import Decision

_LONGEST = 200
# Behind a Latin word no letter follows; Chinese and Japanese words stand side by side.
_END = r"(?![A-Za-zÀ-ɏ'’])"
_ADDRESS = r"(?:\s+(?:there|all|everyone|again|bot|team|zusammen|nochmal|à tous|a todos))?"

# What a message may consist of, by the phrase that answers it; the last one counts. Greetings in a language
# that the phrases lack are answered in English.
_SAID: Mapping[str, Mapping[str, str]] = {
    "greeting": {
        "en": r"hi+|hello+|hey+|hiya|howdy|good (?:morning|afternoon|evening|day)|greetings|ciao|buongiorno|"
        r"buonasera|ol[áa]|bom dia|hej|hei|hoi|cześć|привет|здравствуйте|안녕하세요",
        "de": r"hallo+|moin|servus|grüezi|grüß (?:gott|dich|euch)|guten (?:tag|morgen|abend)",
        "fr": r"bonjour|bonsoir|salut|coucou",
        "es": r"hola+|buen día|buen[oa]s(?: d[ií]as| tardes| noches)?",
        "zh": r"你好|您好|早上好|下午好|晚上好|嗨|哈[喽啰]|在吗|有人吗",
        "ja": r"こんにちは|こんばんは|おはよう(?:ございます)?|もしもし|はじめまして|お世話になっております",
    },
    "thanks": {
        "en": r"(?:(?:many )?thanks|thank you)(?: a lot| (?:so|very) much)?|thx|ty|cheers|tak|tack|grazie|"
        r"obrigad[oa]|bedankt|dziękuję|спасибо|감사합니다",
        "de": r"danke(?: (?:sch[öo]n|sehr|dir|ihnen))?|dankesch[öo]n|(?:vielen|besten|herzlichen) dank",
        "fr": r"(?:un grand )?merci(?: (?:beaucoup|bien|à vous|infiniment))?|je vous remercie",
        "es": r"(?:muchas |mil |muchísimas )?gracias",
        "zh": r"谢谢(?:你|您|啦|了)?|多谢|(?:非常)?感谢",
        "ja": r"どうも|ありがとう(?:ございます|ございました)?|助かりました",
    },
    "goodbye": {
        "en": r"good ?bye|(?:bye)+|cya|see you(?: later| soon)?|"
        r"have a (?:nice|good|great) (?:day|one|weekend)",
        "de": r"tsch[üu]ss|auf wiedersehen|bis (?:bald|dann|später)|schönen tag(?: noch)?",
        "fr": r"au revoir|à bientôt|bonne (?:journée|soirée)",
        "es": r"adi[óo]s|hasta (?:luego|pronto|mañana)|chao|que tenga (?:un )?buen día",
        "zh": r"再见|拜拜",
        "ja": r"さようなら|失礼(?:します|いたします)|バイバイ",
    },
    "declined": {
        "en": r"ok(?:ay)?|great|perfect|cool|all right|got it|understood|never ?mind|no,? thanks?(?: you)?|"
        r"(?:no,? )?that(?:'s|’s| is| was) (?:all|it)|nothing else",
        "de": r"alles klar|super|prima|verstanden|nein,? danke|das war(?:'s|s| alles)|schon gut",
        "fr": r"d'accord|parfait|très bien|compris|non,? merci|c'est tout|ça ira",
        "es": r"vale|de acuerdo|perfecto|entendido|no,? gracias|eso es todo|nada más",
        "zh": r"好的|好|明白了?|知道了|了解|不用了|没有了|没事了?",
        "ja": r"わかりました|分かりました|了解(?:です|しました)?|承知しました|大丈夫です|結構です",
    },
}
_YES = (
    r"y|yes|yeah|yep|yup|sure|please|please do|ok|okay|go ahead|of course|absolutely|great|perfect|"
    r"that would be (?:great|nice|good|lovely)|"
    r"ja|jo|jap|gerne?|bitte|klar|natürlich|unbedingt|machen sie das|"
    r"oui|ouais|d'accord|volontiers|s'il (?:vous|te) pla[iî]t|svp|bien sûr|je veux bien|avec plaisir|"
    r"s[ií]|claro|por favor|vale|de acuerdo|adelante|"
    r"是的?|好[的啊吧]?|可以|要|需要|行|嗯|麻烦[你您]?了?|请|转吧?|"
    r"はい|ええ|うん|お願い(?:します|いたします|致します)?|ぜひ|是非"
)
_NO = (
    r"no|nope|nah|not (?:now|necessary|needed)|never ?mind|"
    r"nein|nö|nicht nötig|lieber nicht|non|pas (?:besoin|maintenant|la peine)|no hace falta|ahora no|"
    r"不(?:用|需要|要|必)?了?|没事|算了|"
    r"いいえ|いや|いりません|結構です|大丈夫です|必要ありません"
)
_STAFF = {
    "en": r"human|person|people|someone|somebody|agent|representative|colleague|operator|member of staff",
    "de": r"menschen?|person|jemande[mn]|mitarbeiter(?:in)?|kolleg(?:en|in)|(?:kunden)?berater(?:in)?",
    "fr": r"humain|personne|quelqu['’]un|conseill(?:er|ère)|agent|opérat(?:eur|rice)|collègue",
    "es": r"human[oa]|persona|alguien|agente|asesora?|operadora?|representante|compañer[oa]",
    "zh": r"人工(?![费智成])|真人|客服人员|客服专员",
    "ja": r"人間|担当(?:者|の方)|オペレーター|スタッフ|係の(?:人|方)",
}
# How people ask for a person. `{staff}` is one of the words above.
_ASKING = {
    "en": r".*\b(?:(?:talk|speak|chat)(?:ing)? (?:to|with)|(?:connect|transfer|pass|put|hand|get) (?:me|us))"
    r"\b.{{0,30}}\b(?:{staff})\b.*"
    r"|.*\b(?:need|want|like) an? (?:real |live )?(?:human|person|agent|operator)(?: please)?\W*"
    r"|(?:human|agent|operator)\W*",
    "de": r".*\bmit\b.{{0,20}}\b(?:{staff})\b.{{0,20}}\b(?:sprechen|reden|chatten|telefonieren)\b.*"
    r"|.*\b(?:sprechen|reden|chatten)\b.{{0,20}}\bmit (?:\w+ ){{0,2}}(?:{staff})\b.*"
    r"|.*\bverbinde[nt]?\b.{{0,10}}\bmich\b.{{0,20}}\b(?:{staff})\b.*"
    r"|.*\b(?:möchte|will|brauche) (?:\w+ ){{0,2}}(?:menschen|mitarbeiter(?:in)?|berater(?:in)?)"
    r"(?: bitte)?\W*"
    r"|(?:mensch|mitarbeiter(?:in)?|kundenberater(?:in)?)(?: bitte)?\W*",
    "fr": r".*\b(?:parler|discuter|échanger) (?:à|avec)\b.{{0,20}}\b(?:{staff})\b.*"
    r"|.*\b(?:mettez|passez|transférez)[- ]moi\b.{{0,40}}\b(?:{staff})\b.*"
    r"|.*\b(?:veux|voudrais|besoin d['’]) ?une? (?:vraie? )?(?:humain|personne|conseiller|agent)\W*"
    r"|(?:un )?(?:humain|conseiller|agent)(?: s['’]il (?:vous|te) pla[iî]t)?\W*",
    "es": r".*\b(?:hablar|chatear|comunicarme) con\b.{{0,20}}\b(?:{staff})\b.*"
    r"|.*\b(?:p[áa]s(?:[ae]|ar)me|p[óo]n(?:ga)?me|transfiérame|comuníqueme|conécteme)\b.{{0,40}}\b(?:{staff})\b.*"
    r"|.*\b(?:quiero|necesito) una? (?:persona|humano|agente|asesor)(?: real)?(?:,? por favor)?\W*"
    r"|(?:humano|agente|operador)(?:,? por favor)?\W*",
    "zh": r".*(?:转|找|接|要|联系|呼叫).{{0,4}}(?:{staff}).*"
    r"|.*[跟和与同].{{0,4}}(?:{staff}|客服).{{0,4}}(?:说|聊|谈|沟通|通话|对话).*"
    r"|(?:人工|真人)(?:客服|服务)?\W*",
    "ja": r".*(?:{staff}).{{0,6}}(?:話し|話せ|つな|繋|代わ|替わ|お願い|呼ん).*"
    r"|.*有人(?:対応|チャット|窓口).*|(?:オペレーター|担当者)\W*",
}


def _anything(of: str) -> re.Pattern[str]:
    """The whole message is made of these, give or take punctuation, emoji, repetition and an address.

    No words may be others side by side: a long repetition could then be read in too many ways to try.
    """
    return re.compile(rf"\W*(?:(?:{of}){_END}{_ADDRESS}\W*)+", re.IGNORECASE)


_SMALL_TALK = _anything(
    "|".join(
        f"(?P<{kind}_{language}>{words})"
        for kind, by_language in _SAID.items()
        for language, words in by_language.items()
    )
)
_POLITE = "|".join(_SAID["thanks"].values())
_REPLY_TO_OFFER = _anything(f"(?P<no>{_NO})|(?P<yes>{_YES})|{_POLITE}")
_PERSON_WANTED = {
    language: re.compile(asking.format(staff=_STAFF[language]), re.IGNORECASE | re.DOTALL)
    for language, asking in _ASKING.items()
}


def reply_to(message: str, persona: str, language: str = "") -> tuple[str, Decision] | None:
    """The answer to small talk, or None when the message is something else.

    Parameters
      persona: who the bot is, "Nora from Acme"
      language: to answer in, ISO 639-1; without it, or where the phrases lack it, the message's own
    """
    text = message.strip()
    if len(text) > _LONGEST:
        return None
    if said := _SMALL_TALK.fullmatch(text):
        kind, _, own = (said.lastgroup or "").partition("_")
        spoken = language if language in LANGUAGES else own
        return say(kind, spoken, persona=_named(persona, spoken)), "answer"
    for own, pattern in _PERSON_WANTED.items():
        if pattern.fullmatch(text):
            return say("hand_over", language if language in LANGUAGES else own), "hand_over"
    return None


def accepts_offer(message: str, last_reply: str) -> bool | None:
    """Whether the customer takes the person that `last_reply` offered: yes, no, or None.

    None when nobody was offered, or the message says something else. It is answered with the phrase
    `hand_over` or `declined`.
    """
    if len(message) > _LONGEST or not any(say("not_found", spoken) in last_reply for spoken in LANGUAGES):
        return None
    said = _REPLY_TO_OFFER.fullmatch(message.strip())
    if said is None or not (said["yes"] or said["no"]):
        return None
    return not said["no"]


def _named(persona: str, language: str) -> str:
    """The persona; one that nobody has named is called in the customer's language."""
    return say("help_desk", language) if persona == say("help_desk", "en") else persona
